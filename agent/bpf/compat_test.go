package bpf_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// compatOpener is a program that opens a file by the 32-bit system call of
// i386, and exits with 0 if it could.
func compatOpener(path string) []byte {
	code := []byte{
		0xb8, 5, 0, 0, 0, // mov eax, open
		0xbb, 0, 0, 0, 0, // mov ebx, the path (put in below)
		0x31, 0xc9, // xor ecx, ecx
		0x31, 0xd2, // xor edx, edx
		0xcd, 0x80, // int 0x80
		0x89, 0xc3, // mov ebx, eax
		0xc1, 0xeb, 31, // shr ebx, 31: 1 for an error
		0xb8, 1, 0, 0, 0, // mov eax, exit
		0xcd, 0x80, // int 0x80
	}
	binary.LittleEndian.PutUint32(code[6:], uint32(kerneltest.CodeAddress+len(code)))
	return kerneltest.Executable(slices.Concat(code, []byte(path+"\x00")))
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
