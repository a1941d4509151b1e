//! Document -> System: in which order the elements are read, and what they share while the file is
//! read.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::context::{Context, Shape, list, quoted};
use super::document::{Attribute, Element};
use super::domains::{DomainIndex, Domains};
use super::io_address_space::IoAddressSpace;
use super::map::{AddressSpace, Owner};
use super::memory_region::Regions;
use super::system::{Channel, MemoryRegion, PdIndex, ProtectionDomain, RegionIndex, Span, System};
use super::{
    Options, channel, cspace, domains, io_address_space, ioport, map, protection_domain, setvar,
    virtual_machine,
};
use crate::diagnostic::{Diagnostic, Source};

/// What has been read so far. Where a value is wrong, a finding is made and a stand-in kept; with a
/// finding that is an error the system is thrown away.
pub(super) struct Builder<'s> {
    pub(super) cx: Context<'s>,
    pub(super) regions: Regions,
    pub(super) pds: Vec<PdDraft>,
    pub(super) pd_names: BTreeMap<String, PdIndex>,
    pub(super) vm_names: BTreeMap<String, Span>,
    pub(super) domains: Option<Domains>,
    pub(super) domain_names: BTreeMap<String, DomainIndex>,
    pub(super) spaces: Vec<AddressSpace>,
    pub(super) io_address_spaces: Vec<IoAddressSpace>,
    pub(super) device_ids: io_address_space::Ids,
    pub(super) channels: Vec<Channel>,
    /// Interrupts by number.
    pub(super) irqs: BTreeMap<u32, Span>,
}

/// A PD whose mappings and symbols are not complete.
#[derive(Debug)]
pub(super) struct PdDraft {
    pub(super) pd: ProtectionDomain,
    /// `None` when what the file says is wrong.
    pub(super) priority: Option<u8>,
    pub(super) setvars: Vec<setvar::Draft>,
    /// Ids of channel ends and irqs.
    channel_ids: BTreeMap<u8, Span>,
    /// Ids of children and vcpus.
    child_ids: BTreeMap<u8, Span>,
}

impl PdDraft {
    pub(super) fn new(pd: ProtectionDomain, priority: Option<u8>) -> Self {
        Self { pd, priority, setvars: Vec::new(), channel_ids: BTreeMap::new(), child_ids: BTreeMap::new() }
    }
}

const ROOT: &str = "system";

/// Names that a message lists, where one is not known.
const MAX_LISTED: usize = 8;

const SHAPE: Shape = Shape {
    attributes: &[],
    children: &["protection_domain", "memory_region", "channel", "domains", "io_address_space"],
};

/// The system that `root` describes, and everything found. With an error among the findings, the
/// system means nothing.
pub(super) fn build(source: &Source, options: &Options, root: &Element<'_>) -> (System, Vec<Diagnostic>) {
    let mut b = Builder {
        cx: Context::new(source, options),
        regions: Regions::default(),
        pds: Vec::new(),
        pd_names: BTreeMap::new(),
        vm_names: BTreeMap::new(),
        domains: None,
        domain_names: BTreeMap::new(),
        spaces: Vec::new(),
        io_address_spaces: Vec::new(),
        device_ids: io_address_space::Ids::default(),
        channels: Vec::new(),
        irqs: BTreeMap::new(),
    };
    if root.name == ROOT {
        b.read(root);
    } else {
        let message = format!("the root element is {}, not `{ROOT}`", quoted(root.name));
        b.cx.error(&root.span, message);
    }
    b.finish()
}

impl<'s> Builder<'s> {
    fn read(&mut self, root: &Element<'s>) {
        self.cx.shape(root, &SHAPE);
        for element in root.children_called("memory_region") {
            self.regions.read(&mut self.cx, element);
        }
        if let Some(element) = self.cx.at_most_one(root, "domains") {
            domains::read(self, element);
        }
        let mut cspaces = Vec::new();
        for element in root.children_called("protection_domain") {
            protection_domain::read(self, element, None, &mut cspaces);
        }
        if root.children_called("protection_domain").next().is_none() {
            let message = "there is no `protection_domain`";
            self.cx.error_help(&root.span, message, "a system has at least one");
        }
        for (pd, element) in cspaces {
            cspace::read(self, element, pd);
        }
        for element in root.children_called("io_address_space") {
            io_address_space::read(self, element);
        }
        for element in root.children_called("channel") {
            channel::read(self, element);
        }
        ioport::check_overlap(self);
        virtual_machine::check(self);
    }

    fn finish(mut self) -> (System, Vec<Diagnostic>) {
        let regions = std::mem::take(&mut self.regions);
        let unused = regions.unused();
        let regions = regions.finish(&mut self.cx, map::uses(&self.spaces));
        setvar::finish(&mut self, &regions);
        self.finish_spaces(&regions);
        // What looks unused next to an error may be meant by what is wrong.
        if !self.cx.has_errors() {
            for RegionIndex(index) in unused {
                let MemoryRegion { name, span, .. } = &regions[index];
                let message = format!("the memory region {} is not used", quoted(name));
                self.cx.warning(span, message, "map it in a protection domain or remove it");
            }
        }
        let (findings, unsupported) = self.cx.finish();
        let system = System {
            pds: self.pds.into_iter().map(|draft| draft.pd).collect(),
            regions,
            channels: self.channels,
            io_address_spaces: self.io_address_spaces,
            domains: self.domains,
            unsupported,
        };
        (system, findings)
    }

    fn finish_spaces(&mut self, regions: &[MemoryRegion]) {
        for mut space in std::mem::take(&mut self.spaces) {
            space.finish(&mut self.cx, regions);
            let maps = space.maps.into_iter().map(|draft| draft.map).collect();
            match space.owner {
                Owner::Pd(pd) => self.pds[pd.0].pd.maps = maps,
                Owner::Vm(pd) => {
                    if let Some(vm) = &mut self.pds[pd.0].pd.virtual_machine {
                        vm.maps = maps;
                    }
                }
                Owner::Device(device) => {
                    if let Some(device) = self.io_address_spaces.get_mut(device) {
                        device.maps = maps;
                    }
                }
            }
        }
    }

    /// The PD that `attribute` names, or a finding.
    pub(super) fn find_pd(&mut self, attribute: &Attribute<'_>) -> Option<PdIndex> {
        let found = self.pd_names.get(&attribute.value).copied();
        if found.is_none() {
            let message = format!("there is no protection domain {}", quoted(&attribute.value));
            let names = self.pd_names.keys().map(|name| &**name);
            match self.cx.nearest(&attribute.value, names) {
                Some(meant) => {
                    let help = format!("did you mean `{meant}`?");
                    self.cx.error_help(&attribute.span, message, help);
                }
                None if self.pd_names.is_empty() => self.cx.error(&attribute.span, message),
                None => {
                    let known = self.pd_names.keys().take(MAX_LISTED);
                    let known: Vec<&str> = known.map(|name| &**name).collect();
                    let help = match self.pd_names.len() {
                        1 => format!("there is only {}", list(&known)),
                        all if all > known.len() => format!("there are {all} others"),
                        _ => format!("there are {}", list(&known)),
                    };
                    self.cx.error_help(&attribute.span, message, help);
                }
            }
        }
        found
    }

    /// Takes a channel id for `element`, an `end` or `irq`.
    pub(super) fn claim_channel_id(&mut self, pd: PdIndex, id: u8, element: &Element<'_>) {
        let draft = &mut self.pds[pd.0];
        claim(&mut self.cx, &mut draft.channel_ids, (id, "channel id"), &draft.pd.name, element);
    }

    /// Takes a child id for `element`, a `protection_domain` or `vcpu`.
    pub(super) fn claim_child_id(&mut self, pd: PdIndex, id: u8, element: &Element<'_>) {
        let draft = &mut self.pds[pd.0];
        claim(&mut self.cx, &mut draft.child_ids, (id, "child id"), &draft.pd.name, element);
    }
}

fn claim(
    cx: &mut Context<'_>,
    ids: &mut BTreeMap<u8, Span>,
    (id, what): (u8, &str),
    pd: &str,
    element: &Element<'_>,
) {
    if let Some(other) = ids.get(&id) {
        let message = format!("the {what} {id} of {} is taken", quoted(pd));
        let help = format!("by the element at {}", cx.line_of(other));
        let span = element.attribute("id").map_or(&element.span, |id| &id.span);
        cx.error_help(span, message, help);
    } else {
        ids.insert(id, element.span.clone());
    }
}
