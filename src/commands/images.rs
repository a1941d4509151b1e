//! The images of a system, read to be judged and not to be run.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::image::Image;
use crate::report::lint::{ImageFile, NotRead};
use crate::report::words::hex;
use crate::sdf::{self, ProgramImage, System};

/// Bytes of the largest image file that is read.
const IMAGE_MAX: u64 = 256 << 20;

/// The image of each PD, in the order of the system; a file that several PDs share is read once.
pub fn read(system: &System, search_path: &[PathBuf]) -> Vec<ImageFile> {
    let mut known: BTreeMap<(&Path, Option<&Path>), ImageFile> = BTreeMap::new();
    let images = system.pds.iter().map(|pd| {
        let key = (pd.image.path.as_path(), pd.image.path_for_symbols.as_deref());
        known.entry(key).or_insert_with(|| file(&pd.image, search_path)).clone()
    });
    images.collect()
}

fn file(image: &ProgramImage, search_path: &[PathBuf]) -> ImageFile {
    let not_read = |why| ImageFile { sha256: None, image: Err(why) };
    let bytes = match find(&image.path, search_path) {
        Ok(bytes) => bytes,
        Err(why) => return not_read(why),
    };
    let sha256 = Some(hex(&Sha256::digest(&bytes)));
    let symbols = match &image.path_for_symbols {
        None => None,
        Some(path) => match find(path, search_path) {
            Ok(bytes) => Some((path.to_string_lossy(), bytes)),
            Err(why) => return ImageFile { sha256, image: Err(why) },
        },
    };
    let name = image.path.file_name().unwrap_or_default().to_string_lossy();
    let vetted = Image::read(&name, bytes).and_then(|mut image| {
        if let Some((name, bytes)) = symbols {
            image.use_symbols_of(&name, bytes)?;
        }
        Ok(Rc::new(image))
    });
    ImageFile { sha256, image: vetted.map_err(NotRead::Refused) }
}

fn find(path: &Path, search_path: &[PathBuf]) -> Result<Vec<u8>, NotRead> {
    let found =
        sdf::find_in_search_path(path, search_path).map_err(|error| NotRead::Missing(error.places()))?;
    read_bounded(&found).map_err(NotRead::Unreadable)
}

/// An image file's bytes. The error is why not, to follow the file's name and a colon.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    // Opening a pipe would wait for somebody to write to it.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(IMAGE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > IMAGE_MAX {
        return Err(format!("larger than {} MiB", IMAGE_MAX >> 20));
    }
    Ok(bytes)
}
