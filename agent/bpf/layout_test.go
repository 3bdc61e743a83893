package bpf

import (
	"testing"
	"unsafe"
)

// TestLayout holds the offsets that Decode uses against those of the C structures.
func TestLayout(t *testing.T) {
	var r probeRecord
	for name, at := range map[string][2]uintptr{
		"Time":        {unsafe.Offsetof(r.Time), 0},
		"Image":       {unsafe.Offsetof(r.Image), 32},
		"PathCgroup":  {unsafe.Offsetof(r.PathCgroup), 56},
		"Pid":         {unsafe.Offsetof(r.Pid), 64},
		"Tty":         {unsafe.Offsetof(r.Tty), 92},
		"Flags":       {unsafe.Offsetof(r.Flags), 96},
		"ArgsLen":     {unsafe.Offsetof(r.ArgsLen), 100},
		"Kind":        {unsafe.Offsetof(r.Kind), 104},
		"FileLen":     {unsafe.Offsetof(r.FileLen), 108},
		"InterpLen":   {unsafe.Offsetof(r.InterpLen), 120},
		"Class":       {unsafe.Offsetof(r.Class), 122},
		"Suppressed":  {unsafe.Offsetof(r.Suppressed), 128},
		"Comm":        {unsafe.Offsetof(r.Comm), 136},
		"Data":        {unsafe.Offsetof(r.Data), headerSize},
		"record_end":  {unsafe.Sizeof(probeRecordEnd{}), endSize},
		"whole, 32 K": {unsafe.Sizeof(r), 32768},
	} {
		if at[0] != at[1] {
			t.Errorf("%s is at %d in C and at %d in Go", name, at[0], at[1])
		}
	}
}
