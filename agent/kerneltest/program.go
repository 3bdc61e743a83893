package kerneltest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"runtime"
)

// Where Executable puts the code in memory.
const (
	programBase = 0x400000
	// CodeAddress is the address of its first byte.
	CodeAddress = programBase + programHeaders
	// programHeaders is the size of what is before it in the file.
	programHeaders = 64 + 56
)

// Executable is a program of nothing but this machine code, for the architecture of the tests: the
// smallest that Linux executes.
func Executable(code []byte) []byte {
	machine := elf.EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_AARCH64
	}
	size := uint64(programHeaders + len(code))
	var out bytes.Buffer
	for _, header := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{
				0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
			},
			Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
			Entry: CodeAddress, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: programBase, Filesz: size, Memsz: size, Align: 0x10000,
		},
	} {
		_ = binary.Write(&out, binary.LittleEndian, header) // into memory
	}
	out.Write(code)
	return out.Bytes()
}

// Nothing is a program that ends at once, with 0.
func Nothing() []byte {
	if runtime.GOARCH == "arm64" {
		return Executable([]byte{
			0x00, 0x00, 0x80, 0xd2, // mov x0, #0
			0xa8, 0x0b, 0x80, 0xd2, // mov x8, #93: exit
			0x01, 0x00, 0x00, 0xd4, // svc #0
		})
	}
	return Executable([]byte{
		0x31, 0xff, // xor edi, edi
		0xb8, 60, 0, 0, 0, // mov eax, exit
		0x0f, 0x05, // syscall
	})
}
