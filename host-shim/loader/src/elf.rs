//! Whether bytes are a complete plugin for this machine, found out without loading them.
//!
//! The format is that of elf(5) and the System V gABI, chapters 4 and 5.

use std::path::Path;

use object::elf::{self, Machine};
use object::endian::Endianness;
use object::read::elf::{
    Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _, Sym as _, SymbolTable,
};

use crate::refusal::Refusal;

/// The symbol that every plugin exports: abi_stable's header of the library.
pub const ROOT_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

#[cfg(target_pointer_width = "64")]
type Header = elf::FileHeader64<Endianness>;
#[cfg(target_pointer_width = "32")]
type Header = elf::FileHeader32<Endianness>;

/// Checks that `bytes` are a shared library for the machine this process runs on, that every byte its headers speak of
/// is there, that it exports [`ROOT_SYMBOL`], and that a panic in it does not end the process. `path` is for the message
/// only.
///
/// A file cut short at any length is refused, since linkers write the section table last and a library without one is
/// refused too. Damage inside the code is not seen: only a digest shows that.
pub fn check(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    Library::<Header>::parse(path, bytes)?.check()
}

/// The number of bytes of a file that [`check_header`] looks at.
pub const HEADER_SIZE: u64 = 512;
/// The number of bytes that a library may have behind its end: a signature, a mark.
const MAX_TAIL: u64 = 1 << 20;

const NO_SECTIONS: &str = "it has no section table, so nobody can tell whether it is complete";

/// Checks what the first bytes (`start`) of a library of `size` bytes tell: that it is for this machine, a shared
/// library, and about as long as its header says. Linkers write the section table last.
pub fn check_header(path: &Path, start: &[u8], size: u64) -> Result<(), Refusal> {
    let library = Library::<Header>::parse(path, start)?;
    library.check_kind()?;
    let (begin, end) = library.section_table();
    if begin == 0 {
        return Err(library.malformed(NO_SECTIONS));
    }
    if end > size {
        return Err(Refusal::Truncated {
            path: path.to_owned(),
            part: "the section table".to_owned(),
            end,
            size,
        });
    }
    if size - end > MAX_TAIL {
        return Err(malformed(
            path,
            format!("it has {size} bytes, and its section table, which comes last, ends at {end}"),
        ));
    }
    Ok(())
}

struct Library<'a, H> {
    path: &'a Path,
    bytes: &'a [u8],
    header: &'a H,
    endian: Endianness,
}

impl<'a, H: FileHeader<Endian = Endianness>> Library<'a, H> {
    /// Reads as much of the header as is needed to know that the rest is in this machine's form.
    fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self, Refusal> {
        if let Some(found) = other_crate_type(path, bytes) {
            return Err(Refusal::CrateType {
                path: path.to_owned(),
                found,
            });
        }
        if !bytes.starts_with(&elf::ELFMAG) {
            return Err(Refusal::NotElf {
                path: path.to_owned(),
                found: looks_like(bytes),
            });
        }
        // Class, byte order and machine stand at the same place in the 32-bit and the 64-bit header.
        let (Some(&[class, data]), Some(&machine)) =
            (bytes.get(4..6).and_then(<[u8]>::as_array), field(bytes, 18))
        else {
            return Err(cut(path, bytes, "the ELF header", size_of::<H>() as u64));
        };
        let found = machine_name(class, data, machine);
        let expected = running_machine();
        if found != expected {
            return Err(Refusal::WrongMachine {
                path: path.to_owned(),
                found,
                expected,
            });
        }
        if bytes.len() < size_of::<H>() {
            return Err(cut(path, bytes, "the ELF header", size_of::<H>() as u64));
        }
        let parsed = H::parse(bytes).and_then(|header| Ok((header, header.endian()?)));
        let (header, endian) = parsed.map_err(|e| malformed(path, e.to_string()))?;
        Ok(Self {
            path,
            bytes,
            header,
            endian,
        })
    }

    fn check_kind(&self) -> Result<(), Refusal> {
        match self.header.e_type(self.endian) {
            elf::ET_DYN => Ok(()),
            elf::ET_EXEC => Err(self.not_shared("an executable")),
            elf::ET_REL => Err(self.not_shared("an object file that was not linked")),
            elf::ET_CORE => Err(self.not_shared("a core dump")),
            other => Err(self.not_shared(&format!("an ELF file of unknown type {}", other.0))),
        }
    }

    /// Where the section table begins and ends, by the header; with very many sections it may end later.
    fn section_table(&self) -> (u64, u64) {
        let start: u64 = self.header.e_shoff(self.endian).into();
        let count = u64::from(self.header.e_shnum(self.endian)).max(1);
        let size = count * size_of::<H::SectionHeader>() as u64;
        (start, start.saturating_add(size))
    }

    fn check(&self) -> Result<(), Refusal> {
        self.check_kind()?;
        let segments = self.segments()?;
        let sections = self.sections()?;
        self.check_dynamic(segments)?;
        let symbols = self.symbols()?;
        if self.is_rust_dylib() {
            return Err(Refusal::CrateType {
                path: self.path.to_owned(),
                found: "a Rust dylib, which only that very compiler's programs can load",
            });
        }
        if !self.exports_root(sections, &symbols) {
            return Err(Refusal::NotAPlugin {
                path: self.path.to_owned(),
            });
        }
        if self.aborts(&symbols) {
            return Err(Refusal::Aborts {
                path: self.path.to_owned(),
            });
        }
        Ok(())
    }

    fn segments(&self) -> Result<&'a [H::ProgramHeader], Refusal> {
        let count = u64::from(self.header.e_phnum(self.endian));
        let start: u64 = self.header.e_phoff(self.endian).into();
        self.within(
            "the program header table",
            start,
            count * size_of::<H::ProgramHeader>() as u64,
        )?;
        let segments = self
            .header
            .program_headers(self.endian, self.bytes)
            .map_err(|e| self.malformed(e.to_string()))?;
        let mut loaded = 0;
        for (index, segment) in segments.iter().enumerate() {
            let (start, size) = segment.file_range(self.endian);
            self.within(&format!("segment {index}"), start, size)?;
            if segment.p_type(self.endian) == elf::PT_LOAD {
                loaded += 1;
                self.check_loaded(index, segment)?;
            }
        }
        if loaded == 0 {
            return Err(self.malformed("it has no loadable segment"));
        }
        Ok(segments)
    }

    /// Checks of one segment what `mmap` and the loader's arithmetic rely on.
    fn check_loaded(&self, index: usize, segment: &H::ProgramHeader) -> Result<(), Refusal> {
        let address: u64 = segment.p_vaddr(self.endian).into();
        let memory: u64 = segment.p_memsz(self.endian).into();
        let align: u64 = segment.p_align(self.endian).into();
        let (offset, size) = segment.file_range(self.endian);
        if size > memory {
            return Err(self.malformed(format!(
                "segment {index} has {size} bytes in the file for {memory} in memory"
            )));
        }
        if address.checked_add(memory).is_none() {
            return Err(self.malformed(format!("segment {index} does not fit the address space")));
        }
        if align > 1 && (!align.is_power_of_two() || address % align != offset % align) {
            return Err(self.malformed(format!("segment {index} is not aligned")));
        }
        Ok(())
    }

    fn sections(&self) -> Result<&'a [H::SectionHeader], Refusal> {
        let start: u64 = self.header.e_shoff(self.endian).into();
        if start == 0 {
            return Err(self.malformed(NO_SECTIONS));
        }
        // With very many sections their count stands in the first one.
        let count = u64::from(self.header.e_shnum(self.endian)).max(1);
        self.within(
            "the section table",
            start,
            count * size_of::<H::SectionHeader>() as u64,
        )?;
        let count = self.header.shnum(self.endian, self.bytes);
        let count = u64::from(count.map_err(|e| self.malformed(e.to_string()))?);
        self.within(
            "the section table",
            start,
            count * size_of::<H::SectionHeader>() as u64,
        )?;
        let table = self.header.sections(self.endian, self.bytes);
        let table = table.map_err(|e| self.malformed(e.to_string()))?;
        for (index, section) in table.iter().enumerate() {
            if let Some((start, size)) = section.file_range(self.endian) {
                self.within(&format!("section {index}"), start, size)?;
            }
            if let Err(error) = table.section_name(self.endian, section) {
                return Err(self.malformed(format!("section {index}: {error}")));
            }
        }
        self.header
            .section_headers(self.endian, self.bytes)
            .map_err(|e| self.malformed(e.to_string()))
    }

    fn check_dynamic(&self, segments: &[H::ProgramHeader]) -> Result<(), Refusal> {
        let mut dynamic = segments
            .iter()
            .filter(|segment| segment.p_type(self.endian) == elf::PT_DYNAMIC);
        let (Some(segment), None) = (dynamic.next(), dynamic.next()) else {
            return Err(self.malformed("it does not have one dynamic segment"));
        };
        let entries = segment.dynamic(self.endian, self.bytes);
        let entries = entries
            .map_err(|e| self.malformed(e.to_string()))?
            .unwrap_or_default()
            .iter()
            .map(|entry| (entry.tag(self.endian), entry.val(self.endian)))
            .collect::<Vec<_>>();
        let Some(end) = entries.iter().position(|&(tag, _)| tag == elf::DT_NULL) else {
            return Err(self.malformed("its dynamic segment has no end"));
        };
        let value = |wanted| {
            let mut used = entries.iter().take(end);
            used.find(|(tag, _)| *tag == wanted)
                .map(|&(_, value)| value)
        };
        if value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0) {
            return Err(self.not_shared("an executable"));
        }
        let mut tables = vec![
            ("string table", value(elf::DT_STRTAB), value(elf::DT_STRSZ)),
            ("symbol table", value(elf::DT_SYMTAB), value(elf::DT_SYMENT)),
        ];
        for (name, address, size) in [
            ("hash table", value(elf::DT_HASH), Some(8)),
            ("GNU hash table", value(elf::DT_GNU_HASH), Some(16)),
            (
                "relocation table",
                value(elf::DT_RELA),
                value(elf::DT_RELASZ),
            ),
            ("relocation table", value(elf::DT_REL), value(elf::DT_RELSZ)),
            ("jump table", value(elf::DT_JMPREL), value(elf::DT_PLTRELSZ)),
        ] {
            if address.is_some() {
                tables.push((name, address, size));
            }
        }
        for (name, address, size) in tables {
            let mapped = address
                .zip(size)
                .is_some_and(|(address, size)| self.is_mapped(segments, address, size));
            if !mapped {
                return Err(self.malformed(format!(
                    "its dynamic {name} is missing or outside its segments"
                )));
            }
        }
        Ok(())
    }

    /// Whether these addresses are backed by the file.
    fn is_mapped(&self, segments: &[H::ProgramHeader], address: u64, size: u64) -> bool {
        segments
            .iter()
            .filter(|segment| segment.p_type(self.endian) == elf::PT_LOAD)
            .any(|segment| {
                let start: u64 = segment.p_vaddr(self.endian).into();
                let length: u64 = segment.p_filesz(self.endian).into();
                address
                    .checked_sub(start)
                    .and_then(|offset| offset.checked_add(size))
                    .is_some_and(|end| end <= length)
            })
    }

    fn symbols(&self) -> Result<SymbolTable<'a, H>, Refusal> {
        let table = self.header.sections(self.endian, self.bytes);
        table
            .and_then(|table| table.symbols(self.endian, self.bytes, elf::SHT_DYNSYM))
            .map_err(|e| self.malformed(e.to_string()))
    }

    /// Whether rustc's metadata is in it, as in libraries of the crate types `dylib` and `proc-macro`.
    fn is_rust_dylib(&self) -> bool {
        let table = self.header.sections(self.endian, self.bytes);
        table.is_ok_and(|table| table.section_by_name(self.endian, b".rustc").is_some())
    }

    fn exports_root(&self, sections: &'a [H::SectionHeader], symbols: &SymbolTable<'a, H>) -> bool {
        symbols.iter().any(|symbol| {
            let in_section = symbol.st_shndx(self.endian).index();
            !symbol.is_local()
                && in_section.is_some_and(|index| index > 0 && usize::from(index) < sections.len())
                && symbol.name(self.endian, symbols.strings()) == Ok(ROOT_SYMBOL.as_bytes())
        })
    }

    /// Whether a panic in it ends the process: it uses the system's unwinder,
    /// as std does for backtraces, and never to raise anything. A library that
    /// brings its own unwinder shows nothing of it.
    fn aborts(&self, symbols: &SymbolTable<'a, H>) -> bool {
        let mut used = symbols
            .iter()
            .filter_map(|symbol| symbol.name(self.endian, symbols.strings()).ok())
            .filter(|name| name.starts_with(b"_Unwind_"))
            .peekable();
        used.peek().is_some() && !used.any(|name| name == b"_Unwind_RaiseException")
    }

    fn within(&self, part: &str, start: u64, size: u64) -> Result<(), Refusal> {
        let Some(end) = start.checked_add(size) else {
            return Err(self.malformed(format!("{part} does not fit a file")));
        };
        if end > self.bytes.len() as u64 {
            return Err(cut(self.path, self.bytes, part, end));
        }
        Ok(())
    }

    fn malformed(&self, problem: impl Into<String>) -> Refusal {
        malformed(self.path, problem.into())
    }

    fn not_shared(&self, found: &str) -> Refusal {
        Refusal::NotSharedLibrary {
            path: self.path.to_owned(),
            found: found.to_owned(),
        }
    }
}

fn cut(path: &Path, bytes: &[u8], part: &str, end: u64) -> Refusal {
    Refusal::Truncated {
        path: path.to_owned(),
        part: part.to_owned(),
        end,
        size: bytes.len() as u64,
    }
}

fn malformed(path: &Path, problem: String) -> Refusal {
    Refusal::Malformed {
        path: path.to_owned(),
        problem,
    }
}

fn field(bytes: &[u8], offset: usize) -> Option<&[u8; 2]> {
    bytes.get(offset..offset.checked_add(2)?)?.as_array()
}

/// The name of a machine as Rust's targets spell it, so that it can be compared and read.
fn machine_name(class: u8, data: u8, machine: [u8; 2]) -> String {
    let big = data == elf::ELFDATA2MSB.0;
    let wide = class == elf::ELFCLASS64.0;
    let machine = if big {
        u16::from_be_bytes(machine)
    } else {
        u16::from_le_bytes(machine)
    };
    let name = match (Machine(machine), wide, big) {
        (elf::EM_X86_64, true, false) => "x86_64",
        (elf::EM_X86_64, false, false) => "x86_64 with 32-bit pointers (x32)",
        (elf::EM_386, false, false) => "x86",
        (elf::EM_AARCH64, true, false) => "aarch64",
        (elf::EM_AARCH64, true, true) => "aarch64_be",
        (elf::EM_ARM, false, false) => "arm",
        (elf::EM_ARM, false, true) => "armeb",
        (elf::EM_RISCV, true, false) => "riscv64",
        (elf::EM_RISCV, false, false) => "riscv32",
        (elf::EM_PPC64, true, true) => "powerpc64",
        (elf::EM_PPC64, true, false) => "powerpc64le",
        (elf::EM_PPC, false, true) => "powerpc",
        (elf::EM_S390, true, true) => "s390x",
        (elf::EM_LOONGARCH, true, false) => "loongarch64",
        (elf::EM_MIPS, true, true) => "mips64",
        (elf::EM_MIPS, true, false) => "mips64el",
        (elf::EM_MIPS, false, true) => "mips",
        (elf::EM_MIPS, false, false) => "mipsel",
        (elf::EM_SPARCV9, true, true) => "sparc64",
        _ => {
            let bits = if wide { 64 } else { 32 };
            let order = if big { "big" } else { "little" };
            return format!("ELF machine {machine} ({bits}-bit, {order}-endian)");
        }
    };
    name.to_owned()
}

/// The machine this process runs on, as [`machine_name`] would name it.
fn running_machine() -> String {
    let big = cfg!(target_endian = "big");
    let name = match std::env::consts::ARCH {
        "aarch64" if big => "aarch64_be",
        "arm" if big => "armeb",
        "powerpc64" if !big => "powerpc64le",
        "mips64" if !big => "mips64el",
        "mips" if !big => "mipsel",
        "x86_64" if cfg!(target_pointer_width = "32") => "x86_64 with 32-bit pointers (x32)",
        name => name,
    };
    name.to_owned()
}

/// What cargo makes of a library that is not a `cdylib`.
fn other_crate_type(path: &Path, bytes: &[u8]) -> Option<&'static str> {
    if !bytes.starts_with(b"!<arch>\n") {
        return None;
    }
    match path.extension()?.to_str()? {
        "rlib" => Some("a Rust library (.rlib), not a shared library"),
        "a" => Some("a static library, not a shared library"),
        _ => None,
    }
}

/// What a file that is not ELF seems to be.
fn looks_like(bytes: &[u8]) -> &'static str {
    const MAGICS: &[(&[u8], &str)] = &[
        (b"#!", "a script"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\xfd7zXZ\0", "an xz archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"BZh", "a bzip2 archive"),
        (b"!<arch>\n", "a static library or a Debian package"),
        (b"\xcf\xfa\xed\xfe", "a macOS library (Mach-O)"),
        (b"\xce\xfa\xed\xfe", "a macOS library (Mach-O)"),
        (b"\xfe\xed\xfa\xcf", "a macOS library (Mach-O)"),
        (
            b"\xca\xfe\xba\xbe",
            "a macOS universal library or a Java class",
        ),
        (b"MZ", "a Windows library (PE)"),
        (b"\0asm", "a WebAssembly module"),
        (b"version https://git-lfs", "a Git LFS pointer"),
        (b"<", "an HTML or XML page"),
    ];
    if bytes.is_empty() {
        return "empty";
    }
    if let Some((_, name)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return name;
    }
    let start = bytes.get(..512).unwrap_or(bytes);
    if start.iter().all(|&b| b == 0) {
        return "a file of zero bytes";
    }
    if start
        .iter()
        .all(|&b| (b >= 0x20 && b != 0x7f) || matches!(b, b'\t' | b'\n' | b'\r'))
    {
        return "a text file";
    }
    "a file of unknown form"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_symbol_is_the_one_abi_stable_looks_for() {
        assert_eq!(ROOT_SYMBOL, abi_stable::library::ROOT_MODULE_LOADER_NAME);
    }

    #[test]
    fn other_files_are_recognised() {
        let path = Path::new("/plugins/libx.so");
        for (bytes, found) in [
            (&b"#!/bin/sh\n"[..], "is a script, not"),
            (b"MZ\x90\0", "is a Windows library (PE), not"),
            (b"\xcf\xfa\xed\xfe\x07", "is a macOS library (Mach-O), not"),
            (b"PK\x03\x04rest", "is a zip archive, not"),
            (b"hello\n", "is a text file, not"),
            (b"\x01\x02\x03", "is a file of unknown form, not"),
            (b"\x7fEL", "is a file of unknown form, not"),
            (b"", "is empty, not"),
        ] {
            let refusal = check(path, bytes).unwrap_err().to_string();
            assert!(refusal.contains(found), "{refusal}");
        }
    }
}
