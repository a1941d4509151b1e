//! `graph`: nothing in the SVG covers anything else, at 5 PDs, at 40 and in random systems; and what the other two formats say.

#![forbid(unsafe_code)]

#[path = "common/random.rs"]
mod random;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mk_sandbox::report::graph::{self, Area, Drawing, Format, Frame, Style};
use mk_sandbox::sdf::{self, Arch, System};

use random::Random;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn system(text: &str) -> System {
    let source = mk_sandbox::diagnostic::Source { path: "test.system".into(), text: text.to_owned() };
    let options = sdf::Options {
        search_path: vec![root(), root().join("tests/fixtures/sdf")],
        arch: Arch::Any,
        cpus: 64,
    };
    match sdf::load(&source, &options) {
        Ok((system, _)) => system,
        Err(errors) => panic!("{errors:?}\n{text}"),
    }
}

fn file(path: &str) -> System {
    system(&fs::read_to_string(root().join(path)).expect(path))
}

fn picture(system: &System, format: Format) -> String {
    graph::graph(system, "a<b>&\"", format).expect("not too large")
}

fn overlap(one: Area, other: Area) -> bool {
    one.x < other.x + other.width
        && other.x < one.x + one.width
        && one.y < other.y + other.height
        && other.y < one.y + one.height
}

fn contains(outer: Area, inner: Area) -> bool {
    outer.x <= inner.x
        && outer.y <= inner.y
        && inner.x + inner.width <= outer.x + outer.width
        && inner.y + inner.height <= outer.y + outer.height
}

/// A straight piece of a wire: its net and its ends, sorted.
#[derive(Clone, Copy, Debug)]
struct Piece {
    net: usize,
    from: (i32, i32),
    to: (i32, i32),
}

impl Piece {
    fn vertical(self) -> bool {
        self.from.0 == self.to.0
    }

    /// What it covers, without its ends' edges.
    fn area(self) -> Area {
        let (x, y) = self.from;
        Area { x, y, width: (self.to.0 - x).max(1), height: (self.to.1 - y).max(1) }
    }
}

fn pieces(drawing: &Drawing) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for line in &drawing.lines {
        for pair in line.points.windows(2) {
            let (from, to) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
            assert!(from.0 == to.0 || from.1 == to.1, "neither horizontal nor vertical: {line:?}");
            pieces.push(Piece { net: line.net, from, to });
        }
    }
    pieces
}

/// Whether a wire may run over a frame: it comes from a box inside it.
fn leads_out_of(drawing: &Drawing, piece: Piece, frame: &Frame) -> bool {
    let touches = |inner: &&Frame| {
        let edges = [inner.area.x, inner.area.x + inner.area.width];
        inner.depth > frame.depth
            && contains(frame.area, inner.area)
            && [piece.from, piece.to].iter().any(|(x, y)| {
                edges.contains(x) && (inner.area.y..inner.area.y + inner.area.height).contains(y)
            })
    };
    drawing.frames.iter().any(|inner| touches(&inner))
}

fn check(name: &str, system: &System) -> Drawing {
    let drawing = graph::drawing(system, name).expect("not too large");
    let whole = Area { x: 0, y: 0, width: drawing.width, height: drawing.height };
    assert_eq!(
        drawing.frames.len(),
        system.pds.len() + system.regions.len(),
        "{name}: every PD and region once"
    );
    for (at, frame) in drawing.frames.iter().enumerate() {
        assert!(contains(whole, frame.area), "{name}: {frame:?} leaves the picture");
        for other in &drawing.frames[at + 1..] {
            let nested = other.depth > frame.depth && contains(frame.area, other.area);
            assert!(nested || !overlap(frame.area, other.area), "{name}: {frame:?} covers {other:?}");
        }
    }
    let pieces = pieces(&drawing);
    for (at, text) in drawing.texts.iter().enumerate() {
        assert!(contains(whole, text.area), "{name}: {text:?} leaves the picture");
        for other in &drawing.texts[at + 1..] {
            assert!(!overlap(text.area, other.area), "{name}: {text:?} covers {other:?}");
        }
        for frame in &drawing.frames {
            let inside = contains(frame.area, text.area);
            assert!(inside || !overlap(frame.area, text.area), "{name}: {text:?} is half in {frame:?}");
        }
        for piece in &pieces {
            assert!(!overlap(piece.area(), text.area), "{name}: {piece:?} runs through {text:?}");
        }
    }
    for (at, piece) in pieces.iter().enumerate() {
        for frame in &drawing.frames {
            let inner = Area {
                x: frame.area.x + 1,
                y: frame.area.y + 1,
                width: frame.area.width - 2,
                height: frame.area.height - 2,
            };
            let runs_over = overlap(piece.area(), inner) && !leads_out_of(&drawing, *piece, frame);
            assert!(!runs_over, "{name}: {piece:?} runs over {frame:?}");
        }
        for other in pieces[at + 1..].iter().filter(|other| other.net != piece.net) {
            let shared = piece.vertical() == other.vertical() && overlap(piece.area(), other.area());
            assert!(!shared, "{name}: {piece:?} and {other:?} share a stretch");
        }
    }
    drawing
}

#[test]
fn nothing_covers_anything_in_five_and_in_forty_pds() {
    let five = check("five", &file("tests/fixtures/graph/five.system"));
    assert_eq!(five.frames.iter().filter(|frame| frame.style == Style::Pd).count(), 5);
    let names: Vec<&str> =
        five.texts.iter().filter(|text| text.bold).map(|text| text.text.as_str()).collect();
    for name in ["supervisor", "keyboard", "screen", "editor", "store"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let parent =
        &five.frames.iter().find(|frame| frame.words.contains("supervisor")).expect("it is drawn").area;
    let child = &five.frames.iter().find(|frame| frame.words.contains("keyboard")).expect("it is drawn").area;
    assert!(contains(*parent, *child));

    let forty = check("forty", &file("tests/fixtures/graph/forty.system"));
    assert_eq!(forty.frames.iter().filter(|frame| frame.style == Style::Pd).count(), 40);
    // As large as a screen or two, not a ribbon.
    assert!(forty.width < 2200 && forty.height < 2200, "{} x {}", forty.width, forty.height);
    let aspect = f64::from(forty.width) / f64::from(forty.height);
    assert!((0.5..3.0).contains(&aspect), "{aspect}");
}

#[test]
fn nothing_covers_anything_in_any_valid_fixture() {
    for directory in ["tests/fixtures/sdf", "examples"] {
        for entry in walk(&root().join(directory)) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if directory == "examples" || name.starts_with("valid_") {
                let source = mk_sandbox::diagnostic::Source {
                    path: entry.clone(),
                    text: fs::read_to_string(&entry).expect("readable"),
                };
                let search_path = vec![entry.parent().expect("a directory").to_owned()];
                for arch in Arch::ALL {
                    let options = sdf::Options { search_path: search_path.clone(), arch, cpus: 64 };
                    if let Ok((system, _)) = sdf::load(&source, &options) {
                        check(&name, &system);
                    }
                }
            }
        }
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|extension| extension == "system") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn random_system(seed: u64) -> System {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (pds, regions) = (1 + random.below(50), random.below(25));
    let mut next_id = vec![0; pds];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); pds];
    let mut roots = Vec::new();
    for pd in 0..pds {
        match pd > 0 && random.below(3) == 0 {
            true => children[random.below(pd)].push(pd),
            false => roots.push(pd),
        }
    }
    let mut text = String::from("<system>");
    for region in 0..regions {
        text +=
            &format!("<memory_region name=\"r{region}{}\" size=\"0x1000\"/>", "x".repeat(random.below(50)));
    }
    let regions: Vec<String> = text
        .split("name=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .collect();
    fn element(
        pd: usize,
        id: Option<usize>,
        children: &[Vec<usize>],
        regions: &[String],
        random: &mut Random,
        text: &mut String,
    ) {
        let id = id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
        let name = format!("p{pd}{}", "y".repeat(random.below(40)));
        *text +=
            &format!("<protection_domain name=\"{name}\" priority=\"{pd}\"{id}><program_image path=\"p\"/>");
        for (at, region) in regions.iter().enumerate() {
            if random.below(6) == 0 {
                let perms = ["r", "rw", "rx", "x"][random.below(4)];
                *text += &format!(
                    "<map mr=\"{region}\" vaddr=\"{:#x}\" perms=\"{perms}\"/>",
                    0x100_0000 + at * 0x10000
                );
            }
        }
        for (id, child) in children[pd].iter().enumerate() {
            element(*child, Some(id), children, regions, random, text);
        }
        *text += "</protection_domain>";
    }
    for pd in roots {
        element(pd, None, &children, &regions, &mut random, &mut text);
    }
    let names: Vec<String> = (0..pds)
        .map(|pd| {
            let start = text
                .find(&format!("protection_domain name=\"p{pd}y"))
                .or_else(|| text.find(&format!("protection_domain name=\"p{pd}\"")));
            let rest = &text[start.expect("it was written") + "protection_domain name=\"".len()..];
            rest.split('"').next().unwrap_or_default().to_owned()
        })
        .collect();
    for _ in 0..random.below(80) {
        let (one, other) = (random.below(pds), random.below(pds));
        let mut end = |pd: usize, call: bool| {
            next_id[pd] += 1;
            let call = if call { " pp=\"true\"" } else { "" };
            format!("<end pd=\"{}\" id=\"{}\"{call}/>", names[pd], next_id[pd] - 1)
        };
        let call = one < other;
        let ends = end(one, call) + &end(other, false);
        text += &format!("<channel>{ends}</channel>");
    }
    system(&(text + "</system>"))
}

#[test]
fn nothing_covers_anything_in_random_systems() {
    for seed in 1..=40 {
        check(&format!("seed {seed}"), &random_system(seed));
    }
}

/// As much as 63 PDs can have of channels, and more regions than anybody draws.
fn crowded(regions: usize) -> System {
    let mut text = String::from("<system>");
    for region in 0..regions {
        text += &format!("<memory_region name=\"r{region}\" size=\"0x1000\"/>");
    }
    for pd in 0..63 {
        text += &format!("<protection_domain name=\"p{pd}\" priority=\"{pd}\"><program_image path=\"p\"/>");
        for at in 0..regions.min(10) {
            let region = (pd * 19 + at * 7) % regions;
            text += &format!("<map mr=\"r{region}\" vaddr=\"{:#x}\"/>", 0x100_0000 + at * 0x2000);
        }
        text += "</protection_domain>";
    }
    for one in 0..63 {
        for other in one + 1..63 {
            let (id, other_id) = (other - 1, one);
            text += &format!(
                "<channel><end pd=\"p{one}\" id=\"{id}\" pp=\"true\"/><end pd=\"p{other}\" id=\"{other_id}\"/></channel>"
            );
        }
    }
    system(&(text + "</system>"))
}

#[test]
fn a_picture_has_an_upper_bound_and_every_channel_fits_below_it() {
    let full = crowded(100);
    assert_eq!(full.channels.len(), 63 * 62 / 2);
    let drawing = graph::drawing(&full, "full").expect("not too large");
    assert_eq!(drawing.frames.len(), 163);
    let huge = crowded(9000);
    let error = graph::graph(&huge, "huge", Format::Svg).expect_err("too large").to_string();
    assert!(error.contains("--format dot"), "{error}");
    assert!(graph::graph(&huge, "huge", Format::Dot).is_ok());
}

#[test]
fn the_picture_is_the_same_every_time() {
    let system = file("tests/fixtures/graph/forty.system");
    for format in [Format::Dot, Format::Mermaid, Format::Svg] {
        assert_eq!(picture(&system, format), picture(&system, format));
    }
}

const HOSTILE: &str = "<system><memory_region name='r\"&lt;/title&gt;&amp;]' size='0x1000'/>\
    <protection_domain name='\"]; evil -&gt; x [label=\"'><program_image path='a'/>\
    <map mr='r\"&lt;/title&gt;&amp;]' vaddr='0x1000000'/>\
    <protection_domain name='end\\' id='0'><program_image path='a'/></protection_domain>\
    </protection_domain></system>";

#[test]
fn names_stay_names() {
    let system = system(HOSTILE);
    let svg = picture(&system, Format::Svg);
    assert!(!svg.contains("</title>&"), "{svg}");
    let parsed = svg.matches("<title>").count();
    assert_eq!(parsed, svg.matches("</title>").count());
    let dot = picture(&system, Format::Dot);
    assert!(dot.contains("label=\"\\\"]; evil -> x [label=\\\""), "{dot}");
    assert!(dot.contains("label=\"end\\\\\\npriority 0\""), "{dot}");
    let mermaid = picture(&system, Format::Mermaid);
    assert!(mermaid.contains("subgraph tree0[\"#34;#93;#59; evil -#62; x #91;label#61;#34;\"]"), "{mermaid}");
}

#[test]
fn dot_and_mermaid_say_what_the_file_says() {
    let system = file("tests/fixtures/graph/five.system");
    let dot = picture(&system, Format::Dot);
    for line in [
        "  subgraph cluster0 {",
        "    pd1 [label=\"keyboard\\npriority 150\"];",
        "  region1 [shape=cylinder, fillcolor=\"#e3f4ea\", label=\"frame_buffer 2 MiB\"];",
        "  pd3 -> region1 [dir=none, color=\"#2a7a4b\", label=\"rw\"];",
        "  pd1 -> pd3 [dir=forward, taillabel=\"0\", headlabel=\"0\"];",
        "  pd3 -> pd4 [dir=both, color=\"#a5303d\", penwidth=2, arrowtail=open, taillabel=\"2\", headlabel=\"0\"];",
        "  pd2 -> pd0 [color=\"#a5303d\", penwidth=2, taillabel=\"5\", headlabel=\"5\"];",
    ] {
        assert!(dot.lines().any(|own| own == line), "{line}\n{dot}");
    }
    let mermaid = picture(&system, Format::Mermaid);
    for line in [
        "  subgraph tree0[\"supervisor\"]",
        "    pd1[\"keyboard, priority 150\"]",
        "  region1[(\"frame_buffer 2 MiB\")]",
        "  pd3 ---|rw| region1",
        "  pd1 -->|\"0 to 0\"| pd3",
        "  pd3 <==>|\"call 2 to 0\"| pd4",
        "  pd2 ==>|\"call 5 to 5\"| pd0",
    ] {
        assert!(mermaid.lines().any(|own| own == line), "{line}\n{mermaid}");
    }
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mk-sandbox"))
        .current_dir(root())
        .args(arguments)
        .output()
        .expect("the binary runs")
}

#[test]
fn the_format_follows_the_option_or_the_files_name() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("graph");
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let system = "examples/ring/ring.system";
    let picture = directory.join("ring.svg");
    let picture = picture.to_str().expect("UTF-8");
    let written = program(&["graph", system, "--output", picture]);
    assert_eq!((written.status.code(), written.stdout.len()), (Some(0), 0));
    assert!(fs::read_to_string(picture).expect("written").starts_with("<svg "));
    let overruled = program(&["graph", system, "--format", "mermaid", "-o", picture]);
    assert_eq!(overruled.status.code(), Some(0));
    assert!(fs::read_to_string(picture).expect("written").contains("flowchart LR"));
    let plain = program(&["graph", system]);
    assert!(String::from_utf8_lossy(&plain.stdout).starts_with("digraph system {"));
    let nowhere = program(&["graph", system, "-o", "no/such/directory/x.svg"]);
    assert_eq!(nowhere.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no/such/directory/x.svg"));
}
