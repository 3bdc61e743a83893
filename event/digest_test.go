package event_test

import (
	"testing"

	"github.com/portcullis-dev/portcullis/event"
)

func TestDigestKeepsValuesApart(t *testing.T) {
	id := func(add func(*event.Digest)) string {
		var d event.Digest
		add(&d)
		return d.ID()
	}
	a := id(func(d *event.Digest) { d.Text("ab"); d.Text("c") })
	b := id(func(d *event.Digest) { d.Text("a"); d.Text("bc") })
	c := id(func(d *event.Digest) { d.List([]string{"ab", "c"}); d.List(nil) })
	e := id(func(d *event.Digest) { d.List([]string{"ab"}); d.List([]string{"c"}) })
	if a == b || c == e {
		t.Error("different values hash alike")
	}
}
