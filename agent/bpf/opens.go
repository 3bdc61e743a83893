package bpf

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// openHook is one way of seeing files being opened.
type openHook struct {
	program  string
	attach   func(*ebpf.Program) (link.Link, error)
	complete bool
	detail   string
}

// openHooks are tried in this order, the best first. Whether a kernel allows
// one cannot be told from its version or configuration, only by trying.
func openHooks() []openHook {
	tracing := func(p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
	lsm := func(p *ebpf.Program) (link.Link, error) {
		return link.AttachLSM(link.LSMOptions{Program: p})
	}
	return []openHook{
		{probeProgOnOpenFexit, tracing, true, "fexit security_file_open"},
		{probeProgOnOpenLsm, lsm, true, "LSM file_open"},
		{probeProgOnSyscallExit, tracing, false,
			"tracepoint sys_exit: opens by io_uring are not seen, because this kernel refuses fexit and LSM programs"},
	}
}

// watchOpens loads and attaches the best program that the kernel takes.
func (p *Programs) watchOpens(spec *ebpf.CollectionSpec, types *btf.Cache, logger *slog.Logger) error {
	var refusals []error
	for _, hook := range openHooks() {
		c, err := ebpf.NewCollectionWithOptions(only(spec, hook.program), ebpf.CollectionOptions{
			MapReplacements: p.collection.Maps,
			Cache:           types,
		})
		if err == nil {
			var l link.Link
			if l, err = hook.attach(c.Programs[hook.program]); err == nil {
				p.opens, p.links = c, append(p.links, l)
				p.coverage = append(p.coverage, Capability{
					Name: CapabilityTokenOpen, Available: true, Complete: hook.complete, Detail: hook.detail,
				})
				return nil
			}
			c.Close()
		}
		logger.Debug("way of watching opens is not available", "program", hook.program, "error", err)
		refusals = append(refusals, fmt.Errorf("%s: %w", hook.program, err))
	}
	p.coverage = append(p.coverage, Capability{
		Name: CapabilityTokenOpen, Detail: fmt.Sprintf("not available: %v", errors.Join(refusals...)),
	})
	return nil
}
