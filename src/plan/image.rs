//! What a PD's start needs to know about its image: where it begins, what runs before that, what is written into it.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::image::{Constructors, EntryPoints, Image, Library, Patch, Placement};
use crate::sdf::{ProtectionDomain, SetVar, SetVarValue};

/// Bytes written into the image's writable data once it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Address in the image.
    pub vaddr: u64,
    /// 4 or 8 bytes, little-endian.
    pub bytes: Vec<u8>,
}

/// An image in one PD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// Entry points.
    pub entries: EntryPoints,
    /// What runs before `init`.
    pub constructors: Constructors,
    /// `setvar`s in writable data; those in read-only data are already in the PD's copy of the file.
    pub writes: Vec<Write>,
    /// Libraries to load before it, besides libmicrokit and those the PD host has anyway.
    pub libraries: Vec<String>,
}

/// Works out what a PD does with its image, and what is changed in its copy of the file. Errors are about symbols the system file
/// names.
pub fn bind_image(pd: &ProtectionDomain, image: &Image) -> Result<(ImagePlan, Vec<Patch>), Vec<Diagnostic>> {
    let mut writes = Vec::new();
    let mut patches = Vec::new();
    let mut errors = Vec::new();
    for setvar in &pd.setvars {
        match place(setvar, image) {
            Ok(Place::Write(write)) => writes.push(write),
            Ok(Place::Patch(patch)) => patches.push(patch),
            Err((message, help)) => errors.push(
                Diagnostic::error(setvar.span.clone(), format!("PD `{}`: {message}", pd.name))
                    .with_help(help),
            ),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let loaded_anyway = [Library::Microkit, Library::C, Library::Loader];
    let plan = ImagePlan {
        entries: image.entry_points(),
        constructors: image.constructors(),
        writes,
        libraries: image
            .needed()
            .iter()
            .filter(|library| !loaded_anyway.contains(library))
            .map(|library| library.soname().to_owned())
            .collect(),
    };
    Ok((plan, patches))
}

enum Place {
    Write(Write),
    Patch(Patch),
}

/// The errors are a message and what would be right.
fn place(setvar: &SetVar, image: &Image) -> Result<Place, (String, String)> {
    let variable = image
        .variable(&setvar.symbol)
        .map_err(|error| (error.to_string(), error.problem.hint().to_owned()))?;
    let in_image = || format!("variable `{}` in {}", setvar.symbol, image.name());
    let bytes = match (setvar.value, variable.size) {
        (SetVarValue::Word(word), 8) => word.to_le_bytes().to_vec(),
        (SetVarValue::Id(id), 8) => u64::from(id).to_le_bytes().to_vec(),
        (SetVarValue::Id(id), 4) => u32::from(id).to_le_bytes().to_vec(),
        (value, size) => {
            let (wanted, kind) = match value {
                SetVarValue::Id(_) => ("4 or 8", "unsigned int or uintptr_t"),
                SetVarValue::Word(_) => ("8", "uintptr_t or a pointer"),
            };
            let message =
                format!("{} has {size} bytes, and {} writes {wanted}", in_image(), setvar.attribute);
            return Err((message, format!("declare it as {kind}")));
        }
    };
    if variable.placement == Placement::Runtime {
        return Ok(Place::Write(Write { vaddr: variable.vaddr, bytes }));
    }
    let not_settable = || (format!("{} cannot be set", in_image()), "remove const".to_owned());
    variable.patch(&bytes).map(Place::Patch).ok_or_else(not_settable)
}
