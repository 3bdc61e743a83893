package rule

import (
	"time"

	"github.com/portcullis-dev/portcullis/rule/document"
)

// Bounds of a rule's parts.
const (
	maxName        = 63
	maxTitle       = 200
	maxDescription = 16 << 10
	maxQuery       = 128 << 10
	maxPredicate   = 32 << 10
	maxExceptions  = 256
	maxList        = 64
	maxDuration    = 366 * 24 * time.Hour
)

// Shape is what a rule file's documents hold: what is read, and what editors are
// told in config/schema.
func Shape() *document.Shape {
	return document.Object(
		document.Required("apiVersion", document.OneOf(APIVersion), "The version of this format."),
		document.Required("kind", document.OneOf(Kind), "What this document is."),
		document.Required("metadata", document.Object(
			document.Required("name", NameShape(), "A name that is stable and unique among all rules. Detections, quarantines and settings refer to it."),
		), "What identifies the rule."),
		document.Required("spec", specShape(), "What the rule looks for, and what it means."),
	)
}

// NameShape is what names of rules look like.
func NameShape() *document.Shape {
	return document.Pattern(maxName, `^[a-z0-9]+(-[a-z0-9]+)*$`,
		"must be small letters and digits with single hyphens between, such as token-access")
}

func specShape() *document.Shape {
	return document.Object(
		document.Required("title", document.Text(maxTitle), "What was seen, in one line."),
		document.Required("description", document.Text(maxDescription),
			"For whoever gets the detection: what happened, what it can mean, and what to look at next."),
		document.Required("severity", document.OneOf(Low, Medium, High, Critical), "How bad it is when the rule is right."),
		document.Required("riskScore", document.Integer(0, 100), "The same as a number, for sorting."),
		document.Optional("threats", document.List(threatShape(), maxList), "What it is called in MITRE ATT&CK."),
		document.Required("query", document.Text(maxQuery), "What to look for, in EQL: an event query or a sequence."),
		document.Optional("exceptions", document.List(exceptionShape(), maxExceptions), "What is known to be harmless."),
		document.Optional("response", responseShape(), "What to do about a detection. Without it, the rule only tells."),
		document.Optional("mode", document.OneOf(Observe, Enforce),
			"Whether the response is carried out (enforce) or only told (observe). Without it, the server's configuration decides."),
		document.Optional("tags", document.List(document.Text(maxTitle), maxList), "Words to find the rule by."),
		document.Optional("references", document.List(referenceShape(), maxList), "Pages to read."),
	)
}

func threatShape() *document.Shape {
	part := func(pattern, example string) *document.Shape {
		return document.Object(
			document.Required("id", document.Pattern(maxName, pattern, "is no ATT&CK id such as "+example), "Its id, such as "+example+"."),
			document.Required("name", document.Text(maxTitle), "Its name in ATT&CK."),
		)
	}
	return document.Object(
		document.Required("tactic", part(`^TA[0-9]{4}$`, "TA0002"), "What the attacker wants."),
		document.Required("technique", part(`^T[0-9]{4}(\.[0-9]{3})?$`, "T1609 or T1552.007"), "How he goes about it."),
	)
}

func exceptionShape() *document.Shape {
	return document.Object(
		document.Required("name", NameShape(), "A name that is unique within the rule."),
		document.Required("reason", document.Text(maxDescription), "Why it is harmless."),
		document.Required("where", document.Text(maxPredicate), "An EQL predicate: events for which it is true are no hits of the rule."),
		document.Optional("expires", document.Time(), "From when on it counts for nothing, by the event's time: a date (UTC) or a time."),
	)
}

func referenceShape() *document.Shape {
	return document.Pattern(maxPredicate, `^https?://[^/?#\s]+\S*$`, "must be the address of a page, https://…")
}
