package bpf_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/agent/bpf"
)

// raw is a record as record.h lays it out.
type raw struct {
	header [168]byte
	parts  [7]string // file, file as it is known, cgroup, executable, directory, parent's executable, interpreter
	args   string
}

func (r *raw) bytes() []byte {
	out := append([]byte(nil), r.header[:]...)
	for i, part := range r.parts {
		binary.LittleEndian.PutUint16(out[108+2*i:], uint16(len(part)))
		out = append(out, part...)
	}
	binary.LittleEndian.PutUint32(out[100:], uint32(len(r.args)))
	return append(out, r.args...)
}

func newRaw(kind bpf.Kind) *raw {
	r := &raw{
		parts: [7]string{"", "", "c\x00b\x00a\x00", "sh\x00bin\x00", "", "init\x00", "/bin/sh\x00"},
		args:  "sh\x00-c\x00\x00id\x00",
	}
	le := binary.LittleEndian
	for i := range 8 {
		le.PutUint64(r.header[8*i:], uint64(100+i))
	}
	for i := range 8 {
		le.PutUint32(r.header[64+4*i:], uint32(200+i))
	}
	le.PutUint32(r.header[96:], 1|2|32)
	le.PutUint16(r.header[104:], uint16(kind))
	copy(r.header[136:], "sh")
	copy(r.header[152:], "0123456789abcdef")
	return r
}

func TestDecode(t *testing.T) {
	want := &bpf.Record{
		Kind: bpf.KindExec, Time: 100, Start: 101, ParentStart: 102, EntryStart: 103,
		Image: bpf.Image{Time: 104, PID: 203}, ParentImage: bpf.Image{Time: 105, PID: 204}, Cgroup: 106, PathCgroup: 107,
		PID: 200, PPID: 201, EntryPID: 202, UID: 205, GID: 206, TTY: 207,
		Interactive: true, EntryTTY: true, Learned: true, Comm: "sh", ParentComm: "0123456789abcdef",
		CgroupPath: "/a/b/c", Executable: "/bin/sh", Directory: "/", ParentExe: "/init", Interpreter: "/bin/sh",
		Args: []string{"sh", "-c", "", "id"},
	}
	got, err := bpf.Decode(newRaw(bpf.KindExec).bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(bpf.Record{})); diff != "" {
		t.Errorf("the record differs (-want +got):\n%s", diff)
	}
}

func TestDecodeArguments(t *testing.T) {
	for name, test := range map[string]struct {
		args string
		cut  bool
		want []string
	}{
		"none":             {"", false, nil},
		"one that is void": {"\x00", false, []string{""}},
		"cut in one":       {"sh\x00-c\x00lo", true, []string{"sh", "-c", "lo"}},
		"cut behind one":   {"sh\x00-c\x00", true, []string{"sh", "-c", ""}},
		"not text":         {"a\xff\xfeb\x00", false, []string{"a\uFFFDb"}},
		"without an end":   {"title of a process", false, []string{"title of a process"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRaw(bpf.KindExec)
			r.args = test.args
			if test.cut {
				binary.LittleEndian.PutUint32(r.header[96:], 8)
			}
			got, err := bpf.Decode(r.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Args); diff != "" || got.ArgsCut != test.cut {
				t.Errorf("arguments differ (-want +got), cut %v:\n%s", got.ArgsCut, diff)
			}
		})
	}
	many := newRaw(bpf.KindExec)
	many.args = strings.Repeat("\x00", 20_000)
	if got, err := bpf.Decode(many.bytes()); err != nil || len(got.Args) > 5000 || !got.ArgsCut {
		t.Errorf("20,000 arguments: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := newRaw(bpf.KindOpen).bytes()
	for n := range whole {
		if r, err := bpf.Decode(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes made the record %+v", n, len(whole), r)
		}
	}
	for _, kind := range []bpf.Kind{0, bpf.KindExit, bpf.KindLimit + 1} {
		if _, err := bpf.Decode(newRaw(kind).bytes()); err == nil {
			t.Errorf("a long record of kind %d was accepted", kind)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(newRaw(bpf.KindExec).bytes())
	f.Add(make([]byte, 24))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := bpf.Decode(b)
		if err != nil {
			if r != nil {
				t.Errorf("an error and a record: %v, %+v", err, r)
			}
			return
		}
		for _, s := range append([]string{r.Comm, r.Executable, r.File, r.Directory, r.CgroupPath, r.ParentExe, r.Interpreter}, r.Args...) {
			if !utf8.ValidString(s) {
				t.Errorf("%q is no text", s)
			}
		}
	})
}
