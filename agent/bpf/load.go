package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

// Options of Load. The zero value of a number means its default.
type Options struct {
	// Logger is told what was tried and why it was refused. Required.
	Logger *slog.Logger
	// RingSize is the ring buffer's size in bytes, a power of two and a multiple
	// of the page size. Default 4 MiB.
	RingSize uint32
	// ContainerRate is how many bytes of records per second the execs of one
	// container may cause, ContainerBurst how many at once; other records have
	// shares of their own on top, see budgets. Defaults: 8 MiB, which is more than
	// 10,000 execs, and a quarter of RingSize.
	ContainerRate, ContainerBurst uint64
	// ContainerProcesses is how many processes of one container are remembered.
	// Default 16,384, a quarter of the table.
	ContainerProcesses int64
}

// Capability is one thing that the agent may be able to see.
type Capability struct {
	Name string
	// Available: it is seen at all.
	Available bool
	// Complete: every way of doing it is seen.
	Complete bool
	// Detail says how it is watched, or why not.
	Detail string
}

// The names of capabilities.
const (
	CapabilityExec      = "exec"
	CapabilityTokenOpen = "token-open"
	// CapabilityRunning: processes that ran before the agent are known from the start.
	CapabilityRunning = "running-processes"
)

// Programs are the loaded and attached programs. Close detaches them.
type Programs struct {
	collection *ebpf.Collection
	opens      *ebpf.Collection // shares its maps with collection, as does
	running    *ebpf.Collection
	links      []link.Link
	reader     *ringbuf.Reader
	flushes    flushes
	coverage   []Capability
}

// The three programs without which there is nothing to see.
var execPrograms = []string{probeProgOnExec, probeProgOnFork, probeProgOnExit}

// Load loads and attaches the programs. Without the means to see execs it
// fails with a *MissingError; anything less is reported by Coverage.
func Load(opts Options) (*Programs, error) {
	if opts.Logger == nil {
		return nil, errors.New("options: Logger is required")
	}
	if opts.RingSize == 0 {
		opts.RingSize = 4 << 20
	}
	if opts.RingSize&(opts.RingSize-1) != 0 || int64(opts.RingSize) < int64(os.Getpagesize()) {
		return nil, fmt.Errorf("options: RingSize %d is no power of two of at least a page", opts.RingSize)
	}
	if opts.ContainerRate == 0 {
		opts.ContainerRate = 8 << 20
	}
	if opts.ContainerBurst == 0 {
		opts.ContainerBurst = uint64(opts.RingSize) / 4
	}
	if opts.ContainerProcesses == 0 {
		opts.ContainerProcesses = 16384
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return nil, &MissingError{
			What: "the kernel's type information (/sys/kernel/btf/vmlinux)",
			Help: "run a kernel built with CONFIG_DEBUG_INFO_BTF=y, version " + Floor + " or newer, and mount sysfs at /sys",
			Err:  err,
		}
	}
	// Kernels before 5.11 count maps as locked memory. Newer ones need nothing,
	// and where it is refused loading tells whether it mattered.
	if err := rlimit.RemoveMemlock(); err != nil {
		opts.Logger.Debug("limit of locked memory cannot be raised", "error", err)
	}
	p := &Programs{}
	if err := p.load(opts); err != nil {
		p.Close()
		return nil, err
	}
	// The kernel's types were needed to load only, and take as much memory as all else. The
	// ring buffer is mapped when they are gone, so that both are never there at once.
	debug.FreeOSMemory()
	var err error
	if p.reader, err = ringbuf.NewReader(p.collection.Maps[probeMapRing]); err != nil {
		p.Close()
		return nil, fmt.Errorf("open the ring buffer: %w", err)
	}
	return p, nil
}

func (p *Programs) load(opts Options) error {
	spec, err := prepare(opts)
	if err != nil {
		return err
	}
	types := btf.NewCache()
	execs := only(spec, execPrograms...)
	p.collection, err = ebpf.NewCollectionWithOptions(execs, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return refused("load the exec programs", err)
	}
	if err := p.watchOpens(spec, types, opts.Logger); err != nil {
		return err
	}
	// Exit and fork first: a process whose exec was seen must not be missed by them.
	for _, name := range []string{probeProgOnExit, probeProgOnFork, probeProgOnExec} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p.collection.Programs[name]})
		if err != nil {
			return refused("attach "+name, err)
		}
		p.links = append(p.links, l)
	}
	p.coverage = append([]Capability{{
		Name: CapabilityExec, Available: true, Complete: true, Detail: "tracepoint sched_process_exec",
	}}, p.coverage...)
	return p.learnRunning(spec, types, opts.Logger)
}

func prepare(opts Options) (*ebpf.CollectionSpec, error) {
	spec, err := loadProbe()
	if err != nil {
		return nil, err
	}
	spec.Maps[probeMapRing].MaxEntries = opts.RingSize
	rates, bursts := budgets(opts.ContainerRate, opts.ContainerBurst)
	var fresh probeContainer
	for class := range fresh.Buckets {
		fresh.Buckets[class].Bytes = bursts[class]
	}
	set := map[string]any{
		probeVarRingSize:           uint64(opts.RingSize),
		probeVarClassRate:          rates,
		probeVarClassBurst:         bursts,
		probeVarNewContainer:       fresh,
		probeVarContainerProcesses: opts.ContainerProcesses,
		probeVarWakeupInterval:     uint64(wakeupInterval),
		probeVarUrgentInterval:     uint64(urgentInterval),
		probeVarOpenCalls:          callSet(openCalls),
		probeVarCompatOpenCalls:    callSet(compatOpenCalls),
	}
	for name, value := range set {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	return spec, nil
}

// callSet has a bit for each of the system calls, by number.
func callSet(calls []int) (set [8]uint64) {
	for _, call := range calls {
		set[call/64] |= 1 << (call % 64)
	}
	return set
}

// budgets gives each class of records its share of what one container may
// cause, per second and at once. Entry leaders and opens are few in peace, so that
// half of what execs have lets any flood of them show that it is one; an exit's
// record is a seventh of an exec's; and programs that are rarely executed
// need little by definition.
func budgets(rate, burst uint64) (rates, bursts [classes]uint64) {
	for class, share := range [classes]uint64{classEntry: 2, classOpen: 2, classExec: 1, classExit: 8, classRare: 8} {
		rates[class], bursts[class] = rate/share, burst/share
	}
	return rates, bursts
}

// only is the collection with none but the named programs.
func only(spec *ebpf.CollectionSpec, names ...string) *ebpf.CollectionSpec {
	c := spec.Copy()
	clear(c.Programs)
	for _, name := range names {
		c.Programs[name] = spec.Programs[name].Copy()
	}
	return c
}

// Coverage says what this kernel lets the agent see.
func (p *Programs) Coverage() []Capability { return p.coverage }

// Close detaches and unloads the programs, and ends a Read that is under way.
func (p *Programs) Close() error {
	errs := []error{p.Detach()}
	if p.reader != nil {
		errs = append(errs, p.reader.Close())
	}
	if p.opens != nil {
		p.opens.Close()
	}
	if p.running != nil {
		p.running.Close()
	}
	if p.collection != nil {
		p.collection.Close()
	}
	return errors.Join(errs...)
}
