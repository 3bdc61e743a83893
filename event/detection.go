package event

import "time"

// Detection is a rule's conclusion from one or several events.
type Detection struct {
	// ID is a hash of rule, join key and completing event: the same events make
	// the same detection, however often and in whatever order they arrive.
	ID   string
	Rule DetectionRule
	// Time is that of the completing event; At is when the correlator concluded.
	Time, At time.Time
	// State says whether the conclusion can still change.
	State State
	// SupersededBy is, in State Superseded, the ID of the detection that took its
	// events; empty where there is none.
	SupersededBy string
	// Events are the chain, in the rule's order.
	Events []*Event
	// Pod and User are whom it is about; either may be empty.
	Pod  Pod
	User string
	// Sessions are the exec sessions that its events happened in, or asked for, as they were known when it was concluded.
	Sessions []*Session
	// Action is what Portcullis does about it.
	Action Action
	// Coverage says what was not seen while its events happened.
	Coverage Coverage
	// Why explains an action that fell short of what the rule asks for, for
	// example because an identity was ambiguous. Empty otherwise.
	Why string
}

// State is how far a detection is decided. Events arrive in any order, and one that
// arrives late can change which events belong together.
type State string

// The states of a detection.
const (
	// Provisional: there is such a chain of events. That is enough to act on.
	Provisional State = "provisional"
	// Final: no event that could change it is taken any more.
	Final State = "final"
	// Superseded: a late event has changed the pairing, and its events belong to
	// another detection now, or to none. What it caused is not undone by that.
	Superseded State = "superseded"
)

// DetectionRule is what a detection carries of its rule.
type DetectionRule struct {
	Name        string
	Title       string
	Description string
	// Severity is low, medium, high or critical; RiskScore is 0 to 100.
	Severity  string
	RiskScore int
	Threats   []Threat
	Tags      []string
}

// Threat is a MITRE ATT&CK technique with its tactic.
type Threat struct {
	TacticID, TacticName       string
	TechniqueID, TechniqueName string
}

// Action is the consequence of a detection.
type Action string

// The consequences.
const (
	// ActionNone: the rule asks for no response.
	ActionNone Action = "none"
	// ActionWouldQuarantine: the rule asks for it, the mode is observe.
	ActionWouldQuarantine Action = "would-quarantine"
	// ActionQuarantine: the subject is denied from now on.
	ActionQuarantine Action = "quarantine"
	// ActionKillSession: the exec sessions that it is about are ended. Where the rule asks for a
	// quarantine as well, that is the action.
	ActionKillSession Action = "kill-session"
	// ActionWouldKillSession: the rule asks for it, the mode is observe.
	ActionWouldKillSession Action = "would-kill-session"
	// ActionAwaitUser: the rule asks for the quarantine of whoever asked for the session, which is not certain yet. What is done is
	// decided, and told, once it is.
	ActionAwaitUser Action = "await-user"
	// ActionDeny: the very request was refused at admission.
	ActionDeny Action = "deny"
	// ActionWouldDeny: the rule asks for it, the mode is observe.
	ActionWouldDeny Action = "would-deny"
)

// Enforced reports whether the action is carried out, not only told.
func (a Action) Enforced() bool {
	return a == ActionQuarantine || a == ActionKillSession || a == ActionDeny
}
