package config

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// FailMode says what becomes of a request that cannot be judged.
type FailMode string

// The fail modes.
const (
	// FailOpen lets it pass, loudly. It is the default.
	FailOpen FailMode = "open"
	// FailClosed refuses it.
	FailClosed FailMode = "closed"
)

// GateConfig configures who is judged at admission, and how far rules may go.
type GateConfig struct {
	// FailMode is for requests that cannot be judged.
	FailMode FailMode `json:"failMode"`
	// BreakGlassGroups are the groups whose members pass a quarantine. Each use is a detection.
	BreakGlassGroups []string `json:"breakGlassGroups"`
	// Exempt are never judged, and nothing is told of them.
	Exempt Subjects `json:"exempt"`
	// Protected are never put into quarantine by a rule; people can.
	Protected Subjects `json:"protected"`
	// Breaker bounds how many quarantines rules make.
	Breaker BreakerConfig `json:"breaker"`
	// Barrier is the wait for what happened just before a request.
	Barrier BarrierConfig `json:"barrier"`
	// Mirror says to keep a copy of every quarantine in a LimitRange of the server's namespace, for the policy in the
	// API server that goes by those.
	Mirror bool `json:"mirror"`
}

// Subjects are some users, groups and namespaces.
type Subjects struct {
	Users      []string `json:"users,omitempty"`
	Groups     []string `json:"groups,omitempty"`
	Namespaces []string `json:"namespaces,omitempty"`
}

// BreakerConfig bounds the quarantines that rules make. Beyond it they only tell.
type BreakerConfig struct {
	// PerRulePerHour bounds those of one rule, TotalPerHour those of all.
	PerRulePerHour int `json:"perRulePerHour"`
	TotalPerHour   int `json:"totalPerHour"`
	// MaxQuarantines bounds how many there are at a time: each one costs the API server a
	// little at every exec.
	MaxQuarantines int `json:"maxQuarantines"`
}

// BarrierConfig configures the wait.
type BarrierConfig struct {
	// Timeout bounds it.
	Timeout metav1.Duration `json:"timeout"`
	// FailMode is for requests for which it was too short.
	FailMode FailMode `json:"failMode"`
}

func defaultGate() GateConfig {
	return GateConfig{
		FailMode:         FailOpen,
		BreakGlassGroups: []string{"system:masters", "portcullis:break-glass"},
		Exempt:           Subjects{Users: []string{}, Groups: []string{}, Namespaces: []string{}},
		Protected:        Subjects{Users: []string{}, Groups: []string{}, Namespaces: []string{"kube-system"}},
		Breaker:          BreakerConfig{PerRulePerHour: 20, TotalPerHour: 100, MaxQuarantines: 100},
		Barrier:          BarrierConfig{Timeout: metav1.Duration{Duration: 100 * time.Millisecond}, FailMode: FailOpen},
		Mirror:           true,
	}
}

// maxBarrier is well below what API servers wait for a webhook by default.
const maxBarrier = 2 * time.Second

func (g *GateConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, g.FailMode.validate(path.Child("failMode"))...)
	errs = append(errs, g.Barrier.FailMode.validate(path.Child("barrier", "failMode"))...)
	if d := g.Barrier.Timeout.Duration; d < time.Millisecond || d > maxBarrier {
		errs = append(errs, field.Invalid(path.Child("barrier", "timeout"), d.String(), "must be between 1ms and "+maxBarrier.String()))
	}
	breaker := path.Child("breaker")
	for name, n := range map[string]int{
		"perRulePerHour": g.Breaker.PerRulePerHour, "totalPerHour": g.Breaker.TotalPerHour, "maxQuarantines": g.Breaker.MaxQuarantines,
	} {
		if n < 1 {
			errs = append(errs, field.Invalid(breaker.Child(name), n, "must be at least 1"))
		}
	}
	for at, list := range map[*field.Path][]string{
		path.Child("breakGlassGroups"):        g.BreakGlassGroups,
		path.Child("exempt", "users"):         g.Exempt.Users,
		path.Child("exempt", "groups"):        g.Exempt.Groups,
		path.Child("exempt", "namespaces"):    g.Exempt.Namespaces,
		path.Child("protected", "users"):      g.Protected.Users,
		path.Child("protected", "groups"):     g.Protected.Groups,
		path.Child("protected", "namespaces"): g.Protected.Namespaces,
	} {
		for i, name := range list {
			if strings.TrimSpace(name) == "" {
				errs = append(errs, field.Required(at.Index(i), "is empty"))
			}
		}
	}
	return errs
}

func (m FailMode) validate(path *field.Path) field.ErrorList {
	if m == FailOpen || m == FailClosed {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, m, []FailMode{FailOpen, FailClosed})}
}
