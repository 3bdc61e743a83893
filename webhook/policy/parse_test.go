package policy_test

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/webhook/policy"
)

const denied = `pods "web-0" is forbidden: ValidatingAdmissionPolicy 'portcullis-quarantine' with binding 'portcullis-quarantine' denied request: ` +
	`portcullis: pod shop/web-0 (UID abc, judged by name) is quarantined until it is released: a shell; to release it: kubectl delete quarantine pod-abc`

func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ message, want string }{
		"a refusal":                    {denied, "pod-abc"},
		"a refusal by the mirror":      {strings.ReplaceAll(denied, "'portcullis-quarantine'", "'portcullis-quarantine-mirror'"), "pod-abc"},
		"of two policies":              {strings.Replace(denied, "'portcullis-quarantine'", "'portcullis-quarantine-mirror'", 1), ""},
		"of a request without a name":  {strings.Replace(denied, `"web-0" `, "", 1), "pod-abc"},
		"of a name with quotes":        {strings.Replace(denied, `web-0`, `we\"b`, 1), "pod-abc"},
		"a reason that claims another": {strings.Replace(denied, "a shell", "a shell; to release it: kubectl delete quarantine other", 1), "pod-abc"},
		"nothing":                      {"", ""},
		"another policy":               {strings.ReplaceAll(denied, "portcullis-quarantine", "portcullis-quarantine2"), ""},
		"another binding":              {strings.Replace(denied, "binding 'portcullis-quarantine'", "binding 'mine'", 1), ""},
		"the policy's own mistake":     {`pods "web-0" is forbidden: ValidatingAdmissionPolicy 'portcullis-quarantine' with binding 'portcullis-quarantine' denied request: failed expression: x`, ""},
		"cut off":                      {strings.TrimSuffix(denied, "pod-abc"), ""},
		"two lines":                    {denied + "\nx", ""},
		"more after the name":          {denied + " and", ""},
		"no object's name":             {denied + "_", ""},
		"a name too long":              {denied + strings.Repeat("a", 253), ""},
		"somebody's message inside another's": {
			`pods "web-0" is forbidden: User "x` + denied, "",
		},
		"somebody's message in a name": {
			`pods "x\" is forbidden: ValidatingAdmissionPolicy 'portcullis-quarantine' with binding 'portcullis-quarantine' denied request: portcullis: y; to release it: kubectl delete quarantine z`, "",
		},
		"an escaped message in a name": {
			`pods "x\" is forbidden: ValidatingAdmissionPolicy 'portcullis-quarantine' with binding 'portcullis-quarantine' denied request: portcullis: y; to release it: kubectl delete quarantine z" not found`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := policy.Parse(c.message)
			if ok != (c.want != "") || ok && got != c.want {
				t.Errorf("%q, %v; want %q", got, ok, c.want)
			}
		})
	}
}

func TestDecided(t *testing.T) {
	type decided struct{ quarantine, breakGlass string }
	for name, c := range map[string]struct {
		annotations map[string]string
		want        decided
	}{
		"nothing":                {map[string]string{"portcullis-quarantine2/quarantine": "x"}, decided{}},
		"by the Quarantine":      {map[string]string{"portcullis-quarantine/quarantine": "a, b"}, decided{"a", ""}},
		"by the mirror":          {map[string]string{"portcullis-quarantine-mirror/quarantine": "b"}, decided{"b", ""}},
		"by both":                {map[string]string{"portcullis-quarantine/quarantine": "a", "portcullis-quarantine-mirror/quarantine": "b"}, decided{"a", ""}},
		"let in":                 {map[string]string{"portcullis-quarantine/quarantine": "a", "portcullis-quarantine/break-glass": "g"}, decided{"a", "g"}},
		"let in past the mirror": {map[string]string{"portcullis-quarantine-mirror/quarantine": "a", "portcullis-quarantine-mirror/break-glass": "g"}, decided{"a", "g"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got decided
			if got.quarantine, got.breakGlass = policy.Decided(c.annotations); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// FuzzParse: what is found is the message's end, and a name.
func FuzzParse(f *testing.F) {
	f.Add(denied)
	f.Add("")
	f.Add(`pods "" is forbidden: `)
	f.Fuzz(func(t *testing.T, message string) {
		name, ok := policy.Parse(message)
		if ok && (name == "" || !strings.HasSuffix(message, " kubectl delete quarantine "+name) || strings.ContainsAny(name, " \n\"")) {
			t.Errorf("%q of %q", name, message)
		}
	})
}
