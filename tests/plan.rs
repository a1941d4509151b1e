//! From a system to its plan and back: generated systems come out of the plan as they went in, and the plan keeps its own promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use mk_sandbox::diagnostic::Source;
use mk_sandbox::plan::{DescriptorKind, Options, Plan};
use mk_sandbox::sdf::{self, Arch};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What a generated file says, in the words of the file.
#[derive(Default)]
struct Wish {
    priorities: Vec<u8>,
    stacks: Vec<u64>,
    /// Region sizes in pages.
    regions: Vec<u64>,
    /// PD, region, address, rights.
    maps: Vec<(usize, usize, u64, &'static str)>,
    /// (PD, id, pp, notify) twice.
    channels: Vec<[(usize, u8, bool, bool); 2]>,
}

fn wish(random: &mut Random) -> Wish {
    let mut wish = Wish::default();
    let pds = 1 + random.below(12) as usize;
    for _ in 0..pds {
        wish.priorities.push(random.below(255) as u8);
        wish.stacks.push(0x1000 * (1 + random.below(8)));
    }
    for _ in 0..random.below(10) {
        wish.regions.push(1 + random.below(6));
    }
    for pd in 0..pds {
        let mut address = 0x400_0000;
        for region in 0..wish.regions.len() {
            if random.below(2) == 0 {
                // Sometimes side by side, sometimes with a gap.
                address += 0x1000 * random.below(4);
                let perms = ["r", "rw", "rx", "x"][random.below(4) as usize];
                wish.maps.push((pd, region, address, perms));
                address += 0x1000 * wish.regions[region];
            }
        }
    }
    let mut free: Vec<Vec<u8>> = vec![(0..62).rev().collect(); pds];
    for _ in 0..random.below(30) {
        let (a, b) = (random.below(pds as u64) as usize, random.below(pds as u64) as usize);
        let (Some(id), true) = (free[a].pop(), a == b || !free[b].is_empty()) else { continue };
        let Some(other) = free[b].pop() else { continue };
        let pp = wish.priorities[a] < wish.priorities[b] && random.below(2) == 0;
        wish.channels.push([(a, id, pp, random.below(4) != 0), (b, other, false, random.below(4) != 0)]);
    }
    wish
}

fn text(wish: &Wish) -> String {
    let mut text = String::from("<system>\n");
    for (region, pages) in wish.regions.iter().enumerate() {
        writeln!(text, "<memory_region name=\"r{region}\" size=\"{:#x}\"/>", pages * 0x1000).unwrap();
    }
    for (pd, (priority, stack)) in wish.priorities.iter().zip(&wish.stacks).enumerate() {
        writeln!(
            text,
            "<protection_domain name=\"p{pd}\" priority=\"{priority}\" stack_size=\"{stack:#x}\">"
        )
        .unwrap();
        writeln!(text, "<program_image path=\"p{pd}.elf\"/>").unwrap();
        for (_, region, vaddr, perms) in wish.maps.iter().filter(|map| map.0 == pd) {
            writeln!(text, "<map mr=\"r{region}\" vaddr=\"{vaddr:#x}\" perms=\"{perms}\"/>").unwrap();
        }
        writeln!(text, "</protection_domain>").unwrap();
    }
    for ends in &wish.channels {
        writeln!(text, "<channel>").unwrap();
        for (pd, id, pp, notify) in ends {
            writeln!(text, "<end pd=\"p{pd}\" id=\"{id}\" pp=\"{pp}\" notify=\"{notify}\"/>").unwrap();
        }
        writeln!(text, "</channel>").unwrap();
    }
    text + "</system>\n"
}

fn plan_of(text: String) -> Plan {
    let source = Source { path: PathBuf::from("generated.system"), text };
    let options = sdf::Options { search_path: Vec::new(), arch: Arch::Any, cpus: 1 };
    let (system, _) =
        sdf::load(&source, &options).unwrap_or_else(|errors| panic!("{errors:?}\n{}", source.text));
    let options = Options { heap_size: 1 << 20, cpus: 2, allow_wx: true };
    Plan::of(&system, &options).unwrap_or_else(|errors| panic!("{errors:?}\n{}", source.text))
}

#[test]
fn what_goes_in_comes_out() {
    let seed = 0x6d6b_2026;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for _ in 0..500 {
        let wish = wish(&mut random);
        let plan = plan_of(text(&wish));
        let priorities: Vec<u8> = plan.pds.iter().map(|pd| pd.priority).collect();
        let stacks: Vec<u64> = plan.pds.iter().map(|pd| pd.stack_size).collect();
        assert_eq!((priorities, stacks), (wish.priorities.clone(), wish.stacks.clone()));
        let maps: Vec<(usize, usize, u64, String)> = plan
            .pds
            .iter()
            .flat_map(|pd| {
                pd.maps.iter().map(|map| (pd.index.0, map.region.0, map.vaddr, map.perms.to_string()))
            })
            .collect();
        let wished: Vec<(usize, usize, u64, String)> = wish
            .maps
            .iter()
            .map(|(pd, region, at, perms)| (*pd, *region, *at, (*perms).to_owned()))
            .collect();
        assert_eq!(maps, wished);
        let mut ends = BTreeMap::new();
        for [a, b] in &wish.channels {
            ends.insert((a.0, a.1), (*a, *b));
            ends.insert((b.0, b.1), (*b, *a));
        }
        let planned = plan.pds.iter().flat_map(|pd| pd.ends.iter().map(move |end| (pd.index.0, end)));
        let mut count = 0;
        for (pd, end) in planned {
            count += 1;
            let (here, there) = ends[&(pd, end.id)];
            assert_eq!((end.peer.0, end.peer_id), (there.0, there.1));
            let rights = end.rights;
            assert_eq!(
                (rights.may_call, rights.may_notify, rights.serves, rights.hears),
                (here.2, here.3, there.2, there.3)
            );
            // Each end says what the other hears, in a page of its own.
            let peer = plan.pd(end.peer).ends.iter().find(|other| other.id == end.peer_id).unwrap();
            assert_eq!((end.out, end.incoming), (peer.incoming, peer.out));
            assert_eq!(end.out.pd.0, pd);
        }
        assert_eq!(count, ends.len());
        keeps_its_promises(&plan);
    }
}

fn keeps_its_promises(plan: &Plan) {
    for pd in &plan.pds {
        let pages: BTreeSet<u64> = pd.ends.iter().map(|end| end.out.page).collect();
        assert_eq!(pages.len(), pd.ends.len(), "a page for each end");
        assert!(pages.iter().all(|page| (1..pd.channel_pages).contains(page)), "page 0 is the PD's own");
        let fds: BTreeSet<i32> = pd.descriptors.iter().map(|held| held.fd).collect();
        assert_eq!(fds.len(), pd.descriptors.len());
        assert_eq!(fds, (1..=fds.len() as i32).collect(), "no hole, and 0 closed");
        for end in &pd.ends {
            let held = pd.descriptors.iter().find(|held| held.fd == end.peer_doorbell_fd);
            assert_eq!(held.map(|held| held.what), Some(DescriptorKind::PeerDoorbell(end.peer)));
        }
        for guard in &pd.guards {
            let clear = |map: &mk_sandbox::plan::MapPlan| {
                guard.vaddr + guard.size <= map.vaddr || map.end() <= guard.vaddr
            };
            assert!(pd.maps.iter().all(clear), "a guard covers no map");
        }
        for map in &pd.maps {
            let covered = |page: u64| {
                pd.maps.iter().any(|other| (other.vaddr..other.end()).contains(&page))
                    || pd.guards.iter().any(|guard| guard.vaddr == page)
            };
            assert!(covered(map.vaddr - 0x1000) && covered(map.end()), "something stands at both edges");
        }
    }
}

#[test]
fn the_same_file_gives_the_same_plan() {
    let mut random = Random(7);
    for _ in 0..50 {
        let text = text(&wish(&mut random));
        assert_eq!(plan_of(text.clone()), plan_of(text));
    }
}
