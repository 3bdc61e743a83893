package bpf_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// compatOpener is a program that opens a file by the 32-bit system call of
// i386, and exits with 0 if it could.
func compatOpener(path string) []byte {
	const base, headers = 0x400000, 64 + 56
	var code bytes.Buffer
	code.Write([]byte{
		0xb8, 5, 0, 0, 0, // mov eax, open
		0xbb, 0, 0, 0, 0, // mov ebx, the path (put in below)
		0x31, 0xc9, // xor ecx, ecx
		0x31, 0xd2, // xor edx, edx
		0xcd, 0x80, // int 0x80
		0x89, 0xc3, // mov ebx, eax
		0xc1, 0xeb, 31, // shr ebx, 31: 1 for an error
		0xb8, 1, 0, 0, 0, // mov eax, exit
		0xcd, 0x80, // int 0x80
	})
	binary.LittleEndian.PutUint32(code.Bytes()[6:], uint32(base+headers+code.Len()))
	code.WriteString(path + "\x00")

	var out bytes.Buffer
	size := uint64(headers + code.Len())
	for _, field := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, // 64 bit, little endian
		uint16(2), uint16(62), uint32(1),       // an executable for x86-64
		uint64(base + headers), uint64(64), uint64(0), uint32(0),
		uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), // one segment to load, readable and executable
		uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
	} {
		_ = binary.Write(&out, binary.LittleEndian, field) // into memory
	}
	out.Write(code.Bytes())
	return out.Bytes()
}

func TestOpenBy32BitCall(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the program is for amd64")
	}
	w := watch(t, bpf.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "opener"), compatOpener(account+"token"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := kerneltest.Start(t, kerneltest.Options{Binds: map[string]string{"/tmp": dir}})
	c.Exec("/tmp/opener")
	w.one("the open", in(c), kind(bpf.KindOpen), args("/tmp/opener"), file("token"))
}
