package ruletest

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/document"
)

// Kind is the kind of the documents in test files.
const Kind = "DetectionRuleTest"

// Bounds of a test file's parts.
const (
	maxName   = 200
	maxList   = 1000 // of tests, templates and rules
	maxEvents = 500  // of a test
	maxFields = 500  // of an event
	maxChain  = 16   // of templates that extend one another
	maxOffset = 366 * 24 * time.Hour
)

// Shape is what a test file's documents hold: what is read, and what editors are
// told in config/schema.
func Shape() *document.Shape {
	return document.Object(
		document.Required("apiVersion", document.OneOf(rule.APIVersion), "The version of this format."),
		document.Required("kind", document.OneOf(Kind), "What this document is."),
		document.Required("rules", document.List(document.Text(maxName), maxList), "The names of the rules to run. No others do."),
		document.Optional("templates", document.Map(templateShape(), maxList), "Events to build on, by name."),
		document.Required("tests", document.List(testShape(), maxList), "What happens, and what the rules are to conclude from it."),
	)
}

func templateShape() *document.Shape {
	return document.Object(extends(), fields())
}

func extends() document.Field {
	return document.Optional("extends", document.Text(maxName), "The template that it has all fields of.")
}

func fields() document.Field {
	return document.Optional("fields", document.Map(document.Anything(), maxFields),
		"Fields of its own, as an ECS document: dotted names, nested objects or both. null takes a field of the template away.")
}

func testShape() *document.Shape {
	return document.Object(
		document.Required("name", document.Text(maxName), "What it shows, in words. Unique within the file."),
		document.Optional("start", document.Time(), "The time that the events' at counts from; it matters to exceptions that expire. 2026-01-01 unless set."),
		document.Optional("mode", document.OneOf(rule.Observe, rule.Enforce), "The server's mode; observe unless set."),
		document.Required("events", document.List(eventShape(), maxEvents), "What happens, in any order."),
		document.Required("detections", document.List(detectionShape(), maxEvents),
			"Everything that the rules are to conclude. Empty for a near miss."),
	)
}

func eventShape() *document.Shape {
	return document.Object(
		document.Optional("id", document.Text(maxName), "A name for detections to refer to."),
		document.Required("at", document.Duration(0, maxOffset), "When it happens, after the test's start."),
		extends(), fields(),
	)
}

func detectionShape() *document.Shape {
	return document.Object(
		document.Optional("rule", document.Text(maxName), "The rule. Required where the file is about several."),
		document.Optional("at", document.Duration(0, maxOffset), "When its last event happens, after the test's start."),
		document.Optional("pod", document.Text(maxName), "The pod that it is about, as namespace/name."),
		document.Optional("podUID", document.Text(maxName), "The UID of that pod."),
		document.Optional("user", document.Text(maxName), "The user that it is about."),
		document.Optional("action", document.OneOf(event.ActionNone, event.ActionWouldQuarantine, event.ActionQuarantine,
			event.ActionWouldKillSession, event.ActionKillSession, event.ActionAwaitUser, event.ActionWouldDeny, event.ActionDeny),
			"What is done about it."),
		document.Optional("events", document.List(document.Text(maxName), maxEvents), "The ids of its events, in the rule's order."),
	)
}
