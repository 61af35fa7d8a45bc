//! `serin image`: images of folders, of files, and of this program.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serin_core::config::ImageName;
use serin_core::runtime::container::{Engine, Images, serin_image};
use serin_core::runtime::{Cancel, OutputLine};

use super::args::{ImageBuildArgs, ImageCommand, ImageLoadArgs};
use super::exit::Exit;
use super::printer;

/// Where this program is in its image.
const PROGRAM: &str = "serin";
/// What its image is made of.
const DOCKERFILE: &str = "FROM scratch\nCOPY root/ /\nENV PATH=/\nENTRYPOINT [\"/serin\", \"container\"]\n";
/// The beginning of a 64-bit program of Linux, little-endian.
const ELF64: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// The kind of a program header that names the loader.
const INTERPRETER: u32 = 3;

/// Runs one of the commands.
pub(super) fn run(command: &ImageCommand) -> anyhow::Result<Exit> {
    match command {
        ImageCommand::Build(args) => build(args),
        ImageCommand::Load(args) => load(args),
    }
}

fn build(args: &ImageBuildArgs) -> anyhow::Result<Exit> {
    let engine = Engine::find()?;
    let own = tempfile::tempdir().context("a temporary folder cannot be made")?;
    let (folder, name) = match (&args.from, &args.tag) {
        (Some(folder), Some(tag)) => (folder.as_path(), tag.clone()),
        (None, tag) => {
            lay_out(own.path())?;
            let usual = || serin_image().parse::<ImageName>();
            (own.path(), tag.clone().map_or_else(usual, Ok)?)
        }
        // The command line asks for it.
        (Some(_), None) => bail!("name the image with --tag"),
    };
    let mut output = |line: OutputLine| printer::talk(&printer::visible(&line.text));
    let id = Images::new(&engine).build(folder, &name, args.pull, &Cancel::default(), &mut output)?;
    printer::data(&id)?;
    Ok(Exit::Done)
}

/// The image of this program, under its usual name: that name.
///
/// # Errors
/// When there is no engine, or it does not make the image.
pub(super) fn build_own() -> anyhow::Result<String> {
    let engine = Engine::find()?;
    let own = tempfile::tempdir().context("a temporary folder cannot be made")?;
    lay_out(own.path())?;
    let name = serin_image();
    let mut output = |line: OutputLine| printer::talk(&printer::visible(&line.text));
    Images::new(&engine).build(own.path(), &name.parse()?, false, &Cancel::default(), &mut output)?;
    Ok(name)
}

fn load(args: &ImageLoadArgs) -> anyhow::Result<Exit> {
    let engine = Engine::find()?;
    for image in Images::new(&engine).load(&args.file, &Cancel::default())? {
        printer::data(&format!("{} {}", image.name, image.id))?;
    }
    Ok(Exit::Done)
}

/// This program, and the libraries that it runs with, as the files of an image that has no others.
fn lay_out(folder: &Path) -> anyhow::Result<()> {
    let root = folder.join("root");
    fs::create_dir(&root)?;
    fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
    let program = std::env::current_exe().context("where this program is cannot be found out")?;
    copy(&program, &root.join(PROGRAM))?;
    let beginning = fs::read(&program).with_context(|| format!("{}: cannot be read", program.display()))?;
    let loader = interpreter(&beginning);
    let maps =
        fs::read_to_string("/proc/self/maps").context("the libraries of this program cannot be found out")?;
    let mut libraries = libraries(&maps, &program);
    libraries.extend(loader.as_ref().and_then(|loader| loader.canonicalize().ok()));
    for library in &libraries {
        let at = within(&root, library);
        copy(library, &at)?;
        // The loader looks for a library by a name that may be a link to it.
        for name in other_names(library) {
            let link = at.with_file_name(&name);
            if !link.exists() {
                symlink(library.file_name().unwrap_or_default(), link)?;
            }
        }
    }
    // The program names its loader by a way of its own.
    if let Some(loader) = loader {
        let at = within(&root, &loader);
        if !at.exists() {
            copy(&loader, &at)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(from, to));
    copied.map(drop).with_context(|| format!("{}: cannot be copied", from.display()))
}

fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The files that are mapped to run, besides the program: its libraries.
fn libraries(maps: &str, program: &Path) -> BTreeSet<PathBuf> {
    let mapped = maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let is_code = fields.nth(1)?.contains('x');
        let path = fields.nth(3)?.trim();
        (is_code && path.starts_with('/') && !path.ends_with(" (deleted)")).then(|| PathBuf::from(path))
    });
    mapped.filter(|path| path != program).collect()
}

/// Other names in its folder that lead to a library.
fn other_names(library: &Path) -> Vec<std::ffi::OsString> {
    let entries =
        library.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let leads_here = |entry: &fs::DirEntry| {
        let is_library = entry.file_name().to_string_lossy().contains(".so");
        is_library
            && entry.path() != library
            && entry.path().canonicalize().is_ok_and(|found| found == library)
    };
    entries.filter(leads_here).map(|entry| entry.file_name()).collect()
}

/// The loader that a program names; `None` for one that needs none.
fn interpreter(program: &[u8]) -> Option<PathBuf> {
    let number = |at: usize, bytes: usize| {
        let field = program.get(at..at.checked_add(bytes)?)?;
        let value = field.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).ok()
    };
    if !program.starts_with(&ELF64) {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count).find_map(|i| {
        let header = table.checked_add(i.checked_mul(size)?)?;
        if number(header, 4)? != INTERPRETER as usize {
            return None;
        }
        let (offset, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
        let path = program.get(offset..offset.checked_add(length)?)?;
        let path = std::str::from_utf8(path.strip_suffix(b"\0").unwrap_or(path)).ok()?;
        Some(PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_the_one_that_a_program_names() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        if let Some(loader) = interpreter(&program) {
            assert!(loader.is_absolute() && loader.exists(), "{}", loader.display());
        }
        for broken in [&b""[..], b"#!/bin/sh\n", &ELF64, &[&ELF64[..], &[0xff; 80]].concat()] {
            assert_eq!(interpreter(broken), None);
        }
    }

    #[test]
    fn libraries_are_what_is_mapped_to_run() {
        let maps = "55d0-55d1 r--p 00000000 fe:00 1 /usr/bin/serin\n55d1-55d2 r-xp 00001000 fe:00 1 /usr/bin/serin\n\
            7f00-7f01 r-xp 00026000 fe:00 2                          /usr/lib/libc.so.6\n\
            7f02-7f03 r--p 00000000 fe:00 3                          /usr/share/locale\n\
            7ffc-7ffd r-xp 00000000 00:00 0                          [vdso]\n7f04-7f05 rw-p 00000000 00:00 0\n";
        let found = libraries(maps, Path::new("/usr/bin/serin"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [Path::new("/usr/lib/libc.so.6")]);
    }

    #[test]
    fn the_image_of_this_program_has_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        lay_out(folder.path()).unwrap();
        let root = folder.path().join("root");
        assert!(root.join(PROGRAM).is_file() && folder.path().join("Dockerfile").is_file());
        let program = fs::read(root.join(PROGRAM)).unwrap();
        if let Some(loader) = interpreter(&program) {
            assert!(within(&root, &loader).is_file());
        }
    }
}
