package packed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

// random fills a value with what a source, or an attacker, could put in.
func random(r *rand.Rand, v reflect.Value) {
	switch {
	case r.IntN(4) == 0: // zero
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf([]time.Time{
			time.Unix(1_790_000_000+r.Int64N(100), r.Int64N(1e9)).UTC(), time.Unix(1_790_000_000, 0).UTC(), time.Unix(0, 0).UTC(),
			time.Date(9999, 1, 2, 3, 4, 5, 6, time.UTC), time.Date(-5, 1, 2, 3, 4, 5, 6, time.UTC),
		}[r.IntN(5)]))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			random(r, v.Field(i))
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		random(r, v.Elem())
	case v.Kind() == reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			random(r, v.Index(i))
		}
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(4) {
			key, element := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			random(r, key)
			random(r, element)
			v.SetMapIndex(key, element)
		}
	case v.Kind() == reflect.String:
		v.SetString([]string{
			"x", "curl", "the same again", fmt.Sprint(r.Uint64()), "d6cf43d9-2859-4e33-8fbe-bc4380d71ed6", "D6CF43D9-2859-4e33-8fbe-bc4380d71ed6",
			fmt.Sprintf("%032x", r.Uint64()), "abc", "process", "\xff\x00", "d6cf43d9-2859-4e33-8fbe-bc4380d71exx",
		}[r.IntN(11)])
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(r.Uint64()) >> (64 - v.Type().Bits() + r.IntN(v.Type().Bits())))
	case v.CanUint():
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits() + r.IntN(v.Type().Bits())))
	}
}

func TestUnpackedEventsAreEqual(t *testing.T) {
	t.Parallel()
	p := NewPacker()
	for seed := range uint64(3_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var e event.Event
		for e.Process == nil && e.Audit == nil {
			random(r, reflect.ValueOf(&e).Elem())
		}
		before := e
		own, common := p.Pack(&e)
		if diff := cmp.Diff(before, e); diff != "" {
			t.Fatalf("seed %d: packing changed the event:\n%s", seed, diff)
		}
		got, err := p.Unpack(string(own), string(common))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := cmp.Diff(&e, got); diff != "" {
			t.Fatalf("seed %d: packed (-), unpacked (+)\n%s", seed, diff)
		}
		if again, _ := p.Pack(got); string(again) != string(own) {
			t.Fatalf("seed %d: equal events pack differently", seed)
		}
	}
}

// sample is an event as an agent reports it.
func sample(number int) *event.Event {
	at := time.Date(2026, 8, 22, 12, 0, 0, number, time.UTC)
	id := fmt.Sprintf("%032x", number*0x9e3779b97f4a7c1)
	return &event.Event{
		ID: id, Request: id, Kind: event.KindProcess, Source: "agent/node-17", Time: at, StageTime: at, Received: at.Add(40 * time.Millisecond),
		Category: []string{"process"}, Type: []string{"start"}, Action: []string{"exec"}, Dataset: event.DatasetProcess,
		Pod: event.Pod{UID: "d6cf43d9-2859-4e33-8fbe-bc4380d71ed6", Namespace: "shop", Name: "cart-0", Node: "node-17",
			Labels: map[string]string{"app": "cart", "pod-template-hash": "7d9c5b8f6d"}, Confidence: event.Exact},
		Container: &event.Container{ID: fmt.Sprintf("%064x", 42), Name: "cart", Image: "registry.example.com/shop/cart:1.42.0"},
		Process: &event.Process{
			PID: uint32(20_000 + number), PPID: 4200, EntityID: "a1b2c3d4e5f60718293a4b5c", Name: "curl", Executable: "/usr/bin/curl",
			Args: []string{"curl", "-sk", "-H", "Authorization: Bearer $TOKEN", "https://kubernetes.default.svc/api/v1/secrets"}, WorkingDirectory: "/app",
			Interactive: true, TTY: 34816, Start: at, Parent: &event.ProcessRef{PID: 4200, EntityID: "b1b2c3d4e5f60718293a4b5c", Name: "bash", Executable: "/usr/bin/bash", Args: []string{"bash"}},
			EntryLeader: &event.EntryLeader{PID: 4200, EntityID: "b1b2c3d4e5f60718293a4b5c", Start: at.Add(-time.Minute), MetaType: "container", Interactive: true},
		},
	}
}

func TestEventsOfOnePodShareAPart(t *testing.T) {
	t.Parallel()
	p := NewPacker()
	own, common := p.Pack(sample(1))
	first, part := string(own), string(common)
	own, common = p.Pack(sample(2))
	if string(common) != part || string(own) == first {
		t.Errorf("two events of a pod share %q and %q", part, common)
	}
	if len(own) > 220 {
		t.Errorf("an event takes %d bytes of its own", len(own))
	}
}

func TestCorruptTextsAreErrors(t *testing.T) {
	t.Parallel()
	p := NewPacker()
	own, common := p.Pack(sample(1))
	text, part := string(own), string(common)
	for i := range len(text) {
		if _, err := p.Unpack(text[:i], part); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d bytes of %d: %v", i, len(text), err)
		}
	}
	if _, err := p.Unpack(text, part+"x"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

// FuzzUnpack: whatever it is given, it ends, in bounded memory, and what it
// takes for an event is one.
func FuzzUnpack(f *testing.F) {
	p := NewPacker()
	for i := range 3 {
		own, common := p.Pack(sample(i))
		f.Add(string(own), string(common))
	}
	f.Fuzz(func(t *testing.T, own, common string) {
		e, err := p.Unpack(own, common)
		if (e == nil) == (err == nil) {
			t.Fatalf("an event %v together with the error %v", e, err)
		}
		if err != nil {
			return
		}
		first, second := p.Pack(e)
		again, err := p.Unpack(string(first), string(second))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	p, e := NewPacker(), sample(1)
	b.ReportAllocs()
	for b.Loop() {
		p.Pack(e)
	}
	own, common := p.Pack(e)
	b.ReportMetric(float64(len(own)), "B-own")
	b.ReportMetric(float64(len(common)), "B-shared")
}

func BenchmarkUnpack(b *testing.B) {
	p := NewPacker()
	own, common := p.Pack(sample(1))
	text, part := string(own), string(common)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Unpack(text, part); err != nil {
			b.Fatal(err)
		}
	}
}
