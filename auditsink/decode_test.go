package auditsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	authnv1 "k8s.io/api/authentication/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/portcullis-dev/portcullis/event"
)

var (
	received = time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)
	from     = Delivery{APIServer: "cp-1", Received: received}
)

func captured(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no captured lists (%v)", err)
	}
	out := make(map[string][]byte)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(name), ".json")] = text
	}
	return out
}

func decodeCaptured(t testing.TB, name string) []*event.Event {
	t.Helper()
	batch, err := NewDecoder().Decode(captured(t)[name], from)
	if err != nil || len(batch.Rejected) > 0 {
		t.Fatalf("%s: %v, rejected %v", name, err, batch.Rejected)
	}
	for _, e := range batch.Events {
		e.Identify()
	}
	return batch.Events
}

// list wraps items, given as JSON, into an EventList.
func list(items ...string) []byte {
	return []byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + strings.Join(items, ",") + `]}`)
}

// item is an event's JSON: what is always there, and more members.
func item(more string) string {
	return `{"auditID":"a","stage":"ResponseComplete","requestURI":"/api","verb":"get"` + more +
		`,"requestReceivedTimestamp":"2026-11-21T18:00:00.000001Z","stageTimestamp":"2026-11-21T18:00:00.000002Z"}`
}

func decodeOne(t testing.TB, text string) *event.Event {
	t.Helper()
	e, err := NewDecoder().DecodeEvent([]byte(text), from)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return e
}

// TestAgreesWithTheAPI holds the decoder against the API's own types.
func TestAgreesWithTheAPI(t *testing.T) {
	for name, text := range captured(t) {
		var api auditv1.EventList
		if err := json.Unmarshal(text, &api); err != nil {
			t.Fatal(err)
		}
		want := make([]*event.Audit, 0, len(api.Items))
		for i := range api.Items {
			want = append(want, fromAPI(&api.Items[i]))
		}
		got := make([]*event.Audit, 0, len(api.Items))
		for i, e := range decodeCaptured(t, name) {
			got = append(got, e.Audit)
			if !e.Time.Equal(api.Items[i].RequestReceivedTimestamp.Time) || !e.StageTime.Equal(api.Items[i].StageTimestamp.Time) {
				t.Errorf("%s: times %s, %s", name, e.Time, e.StageTime)
			}
			if e.Kind != event.KindAudit || e.Source != "audit/cp-1" || e.Dataset != event.DatasetAudit || !e.Received.Equal(received) || e.Category != nil {
				t.Errorf("%s: frame %+v", name, e)
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Audit{}, "Caller", "Target")); diff != "" {
			t.Errorf("%s (-API +ours):\n%s", name, diff)
		}
	}
}

func fromAPI(e *auditv1.Event) *event.Audit {
	out := &event.Audit{
		AuditID: string(e.AuditID), Stage: string(e.Stage), Level: string(e.Level), Verb: e.Verb,
		RequestURI: e.RequestURI, UserAgent: e.UserAgent, SourceIPs: e.SourceIPs, User: userFromAPI(e.User),
		Annotations: e.Annotations,
	}
	if e.ImpersonatedUser != nil {
		user := userFromAPI(*e.ImpersonatedUser)
		out.ImpersonatedUser = &user
	}
	if r := e.ObjectRef; r != nil {
		out.ObjectRef = event.ObjectRef{APIGroup: r.APIGroup, APIVersion: r.APIVersion, Resource: r.Resource,
			Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name, UID: string(r.UID)}
	}
	if s := e.ResponseStatus; s != nil {
		out.Code, out.Reason, out.Message = s.Code, string(s.Reason), s.Message
	}
	if e.RequestObject != nil {
		out.RequestObject = e.RequestObject.Raw
	}
	if e.ResponseObject != nil {
		out.ResponseObject = e.ResponseObject.Raw
	}
	return out
}

func userFromAPI(u authnv1.UserInfo) event.AuditUser {
	out := event.AuditUser{Username: u.Username, UID: u.UID, Groups: u.Groups, Extra: make(map[string][]string)}
	for key, values := range u.Extra {
		out.Extra[key] = values
	}
	return out
}

func TestIDs(t *testing.T) {
	exec := decodeCaptured(t, "exec-tty")
	if exec[0].Request != exec[1].Request {
		t.Error("two stages of one request have different Request hashes")
	}
	if exec[0].ID == exec[1].ID {
		t.Error("two stages of one request have the same ID")
	}
	if denied := decodeCaptured(t, "exec-denied"); denied[0].Request == denied[2].Request {
		t.Error("a refused exec and its retry over SPDY count as one request")
	}
	again := decodeCaptured(t, "exec-tty")
	if again[0].ID != exec[0].ID {
		t.Error("a redelivery has another ID")
	}
	elsewhere, err := NewDecoder().Decode(captured(t)["exec-tty"], Delivery{APIServer: "cp-2", Received: received})
	if err != nil {
		t.Fatal(err)
	}
	if elsewhere.Events[0].ID == exec[0].ID || elsewhere.Events[0].Request == exec[0].Request {
		t.Error("the same text from two API servers has the same hashes")
	}
}

func TestRequestHash(t *testing.T) {
	base := decodeOne(t, item(`,"user":{"username":"alice"}`))
	for name, tc := range map[string]struct {
		item string
		same bool
	}{
		// Audit-ID is the client's to choose: it must not make two requests one.
		"another URI":             {strings.Replace(item(`,"user":{"username":"alice"}`), `"/api"`, `"/api/v1/secrets"`, 1), false},
		"another user":            {item(`,"user":{"username":"bob"}`), false},
		"another moment":          {strings.Replace(item(`,"user":{"username":"alice"}`), "00.000001Z", "00.000003Z", 1), false},
		"another verb":            {strings.Replace(item(`,"user":{"username":"alice"}`), `"get"`, `"create"`, 1), false},
		"another address":         {item(`,"user":{"username":"alice"},"sourceIPs":["10.0.0.1"]`), false},
		"another agent":           {item(`,"user":{"username":"alice"},"userAgent":"curl"`), false},
		"another credential":      {item(`,"user":{"username":"alice","extra":{"k":["v"]}}`), false},
		"another audit ID":        {strings.Replace(item(`,"user":{"username":"alice"}`), `"a"`, `"b"`, 1), false},
		"another stage":           {strings.Replace(item(`,"user":{"username":"alice"}`), "ResponseComplete", "RequestReceived", 1), true},
		"once it is impersonated": {item(`,"user":{"username":"alice"},"impersonatedUser":{"username":"root"}`), true},
		"once there is an answer": {item(`,"user":{"username":"alice"},"responseStatus":{"code":200}`), true},
	} {
		e := decodeOne(t, tc.item)
		if (e.Request == base.Request) != tc.same {
			t.Errorf("%s: same Request hash: %v, want %v", name, !tc.same, tc.same)
		}
		if e.ID == base.ID {
			t.Errorf("%s: same ID", name)
		}
	}
}

func TestIdentities(t *testing.T) {
	const account = `,"user":{"username":"system:serviceaccount:shop:cart","extra":{` +
		`"authentication.kubernetes.io/pod-uid":["u-1"],"authentication.kubernetes.io/pod-name":["cart-0"],"authentication.kubernetes.io/node-name":["n1"]}}`
	ref := func(resource, subresource, name, more string) string {
		return fmt.Sprintf(`,"objectRef":{"resource":%q,"subresource":%q,"namespace":"shop","name":%q,"apiVersion":"v1"%s}`, resource, subresource, name, more)
	}
	cart := event.Pod{Namespace: "shop", Name: "cart-0"}
	cartExact := event.Pod{UID: "u-2", Namespace: "shop", Name: "cart-0", Confidence: event.Exact}
	const uid = `,"uid":"u-2"`
	for name, tc := range map[string]struct {
		item           string
		caller, target event.Pod
	}{
		"a pod's token": {item(account), event.Pod{UID: "u-1", Namespace: "shop", Name: "cart-0", Node: "n1", Confidence: event.Exact}, event.Pod{}},
		"a person":      {item(`,"user":{"username":"alice"}`), event.Pod{}, event.Pod{}},
		"a pod that impersonates a person": {
			item(account + `,"impersonatedUser":{"username":"alice"}`),
			event.Pod{UID: "u-1", Namespace: "shop", Name: "cart-0", Node: "n1", Confidence: event.Exact}, event.Pod{},
		},
		"a person who impersonates a pod": {item(strings.Replace(account, `"user"`, `"impersonatedUser"`, 1)), event.Pod{}, event.Pod{}},
		"a token without a UID": {
			item(`,"user":{"username":"system:serviceaccount:shop:cart","extra":{"authentication.kubernetes.io/pod-name":["cart-0"]}}`), cart, event.Pod{},
		},
		"a name without a namespace": {item(`,"user":{"username":"x","extra":{"authentication.kubernetes.io/pod-name":["cart-0"]}}`), event.Pod{}, event.Pod{}},
		"two UIDs":                   {item(`,"user":{"username":"x","extra":{"authentication.kubernetes.io/pod-uid":["a","b"]}}`), event.Pod{}, event.Pod{}},

		"exec":                      {item(ref("pods", "exec", "cart-0", "")), event.Pod{}, cart},
		"attach":                    {item(ref("pods", "attach", "cart-0", "")), event.Pod{}, cart},
		"port-forward":              {item(ref("pods", "portforward", "cart-0", "")), event.Pod{}, cart},
		"ephemeral container":       {item(ref("pods", "ephemeralcontainers", "cart-0", "")), event.Pod{}, cart},
		"log":                       {item(ref("pods", "log", "cart-0", "")), event.Pod{}, cart},
		"proxy":                     {item(ref("pods", "proxy", "cart-0", "")), event.Pod{}, cart},
		"proxy to a port":           {item(ref("pods", "proxy", "cart-0:8080", "")), event.Pod{}, cart},
		"proxy by https":            {item(ref("pods", "proxy", "https:cart-0:443", "")), event.Pod{}, cart},
		"the pod itself":            {item(ref("pods", "", "cart-0", "")), event.Pod{}, event.Pod{}},
		"status":                    {item(ref("pods", "status", "cart-0", "")), event.Pod{}, event.Pod{}},
		"pods of another API":       {item(ref("pods", "exec", "cart-0", `,"apiGroup":"metrics.k8s.io"`)), event.Pod{}, event.Pod{}},
		"a list":                    {item(ref("pods", "exec", "", "")), event.Pod{}, event.Pod{}},
		"UID of a success":          {item(ref("pods", "ephemeralcontainers", "cart-0", uid) + `,"responseStatus":{"code":200}`), event.Pod{}, cartExact},
		"UID of an upgrade":         {item(ref("pods", "exec", "cart-0", uid) + `,"responseStatus":{"code":101}`), event.Pod{}, cartExact},
		"UID claimed by a failure":  {item(ref("pods", "ephemeralcontainers", "cart-0", uid) + `,"responseStatus":{"code":409}`), event.Pod{}, cart},
		"UID claimed before answer": {item(ref("pods", "ephemeralcontainers", "cart-0", uid)), event.Pod{}, cart},
	} {
		e := decodeOne(t, tc.item)
		if diff := cmp.Diff(tc.caller, e.Audit.Caller); diff != "" {
			t.Errorf("%s: caller (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tc.target, e.Audit.Target); diff != "" {
			t.Errorf("%s: target (-want +got):\n%s", name, diff)
		}
	}
}

func TestKubeletTarget(t *testing.T) {
	cart := event.Pod{Namespace: "shop", Name: "cart-0", Node: "node1"}
	for uri, want := range map[string]event.Pod{
		"/api/v1/nodes/node1/proxy/run/shop/cart-0/main?cmd=id":      cart,
		"/api/v1/nodes/node1/proxy/exec/shop/cart-0/u-9/main":        cart,
		"/api/v1/nodes/node1/proxy//exec//shop/cart-0/main":          cart,
		"/api/v1/nodes/node1/proxy/x/../exec/shop/cart-0/main":       cart,
		"/api/v1/nodes/node1/proxy/x/../../exec/shop/cart-0/main":    cart,
		"/api/v1/nodes/node1/proxy/%65xec/shop/cart-0/main":          cart,
		"/api/v1/nodes/proxy/proxy/attach/shop/cart-0/main":          cart,
		"/api/v1/nodes/node1/proxy/portForward/shop/cart-0":          cart,
		"/api/v1/nodes/node1/proxy/containerLogs/shop/cart-0/main":   cart,
		"/api/v1/nodes/node1/proxy/pods":                             {},
		"/api/v1/nodes/node1/proxy/metrics/a/b/c":                    {},
		"/api/v1/nodes/node1/proxy":                                  {},
		"/api/v1/nodes/node1/proxy/exec/shop":                        {},
		"%zz":                                                        {},
		"/api/v1/namespaces/shop/pods/x/proxy/exec/shop/cart-0/main": {},
	} {
		for _, node := range []string{"node1", "node1:10250", "https:node1:10250"} {
			e := decodeOne(t, item(fmt.Sprintf(`,"requestURI":%q,"objectRef":{"resource":"nodes","subresource":"proxy","name":%q}`, uri, node)))
			if diff := cmp.Diff(want, e.Audit.Target); diff != "" {
				t.Errorf("%s on %s (-want +got):\n%s", uri, node, diff)
			}
		}
	}
	if got := decodeCaptured(t, "node-proxy-run")[0].Audit.Target; !cmp.Equal(got, cart) {
		t.Errorf("captured bypass: %+v", got)
	}
}

// TestTheFutureIsThatOfBothClocks: the server's own clock stays behind when the wall clock is set, and what
// API servers write goes by theirs.
func TestTheFutureIsThatOfBothClocks(t *testing.T) {
	for _, tt := range []struct {
		name string
		from Delivery
		bad  int
	}{
		{"both agree", Delivery{Received: received, Wall: received}, 1},
		{"the wall clock is days ahead", Delivery{Received: received, Wall: received.Add(72 * time.Hour)}, 0},
		{"the wall clock is days behind", Delivery{Received: received, Wall: received.Add(-72 * time.Hour)}, 1},
		{"the server's own clock is ahead", Delivery{Received: received.Add(72 * time.Hour), Wall: received}, 0},
		{"a file that is read later", Delivery{}, 0},
	} {
		stamp := received.Add(48 * time.Hour).Format(time.RFC3339)
		batch, err := NewDecoder().Decode(list(`{"stageTimestamp":"`+stamp+`"}`), tt.from)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := len(batch.Rejected); got != tt.bad {
			t.Errorf("%s: %d events from the day after tomorrow are refused, want %d", tt.name, got, tt.bad)
		}
	}
}

func TestOneBadItemCostsOnlyItself(t *testing.T) {
	good := item("")
	for name, tc := range map[string]struct{ bad, want string }{
		"null":              {`null`, "neither requestReceivedTimestamp nor stageTimestamp"},
		"a string":          {`"x,]}"`, "cannot unmarshal string"},
		"a number":          {`17`, "cannot unmarshal number"},
		"an array":          {`[{"a":[1,2]}]`, "cannot unmarshal array"},
		"an empty object":   {`{}`, "neither requestReceivedTimestamp"},
		"no time":           {`{"requestReceivedTimestamp":null,"stageTimestamp":null}`, "neither requestReceivedTimestamp"},
		"time as a number":  {`{"stageTimestamp":1763749165}`, "is not a string"},
		"time in words":     {`{"stageTimestamp":"yesterday"}`, "is not in RFC 3339"},
		"time far ahead":    {`{"stageTimestamp":"2027-11-21T00:00:00Z"}`, "in the future"},
		"code as a string":  {item(`,"responseStatus":{"code":"200"}`), "cannot unmarshal string"},
		"an enormous code":  {item(`,"responseStatus":{"code":` + strings.Repeat("9", 100_000) + `}`), "cannot unmarshal number"},
		"user as an array":  {item(`,"user":[]`), "cannot unmarshal array"},
		"extra as a string": {item(`,"user":{"extra":{"k":"v"}}`), "cannot unmarshal string"},
	} {
		batch, err := NewDecoder().Decode(list(good, tc.bad, good), from)
		if err != nil {
			t.Errorf("%s: the whole list failed: %v", name, err)
			continue
		}
		if len(batch.Events) != 2 || len(batch.Rejected) != 1 {
			t.Errorf("%s: %d events, %d rejected", name, len(batch.Events), len(batch.Rejected))
			continue
		}
		r := batch.Rejected[0]
		if r.Index != 1 || string(r.Raw) != tc.bad || !strings.Contains(r.Reason.Error(), tc.want) {
			t.Errorf("%s: rejected as %d: %v (raw %.60s)", name, r.Index, r.Reason, r.Raw)
		}
		if len(r.Reason.Error()) > 2*maxErrorText {
			t.Errorf("%s: the reason is %d bytes long", name, len(r.Reason.Error()))
		}
	}
}

func TestNotAnEventList(t *testing.T) {
	many := make([]string, MaxItems+1)
	for i := range many {
		many[i] = "{}"
	}
	for name, tc := range map[string]struct{ body, want string }{
		"nothing":       {"", "unexpected end"},
		"text":          {"hello", "invalid character"},
		"cut off":       {string(list(item("")))[:100], "unexpected end"},
		"trailing text": {string(list()) + "x", "after top-level value"},
		"an array":      {"[]", "cannot unmarshal array"},
		"another kind":  {`{"kind":"Event","apiVersion":"audit.k8s.io/v1"}`, `kind "Event"`},
		"another group": {`{"kind":"EventList","apiVersion":"v1","items":[]}`, `apiVersion "v1"`},
		"old version":   {`{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1"}`, `"audit.k8s.io/v1beta1"`},
		"long kind":     {`{"kind":"` + strings.Repeat("x", 100_000) + `"}`, "…"},
		"items object":  {`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}}`, "want an array"},
		"too many":      {string(list(many...)), "more than 10000 events"},
		"too deep":      {string(list(strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000))), "max depth"},
	} {
		batch, err := NewDecoder().Decode([]byte(tc.body), from)
		if !errors.Is(err, ErrNotEventList) || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: got error %.300v, want one with %q", name, err, tc.want)
		}
		if len(fmt.Sprint(err)) > 1000 {
			t.Errorf("%s: the error is %d bytes long", name, len(err.Error()))
		}
		if batch.Events != nil || batch.Rejected != nil {
			t.Errorf("%s: an error with a result", name)
		}
	}
	for _, body := range []string{`{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}`, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}`, " " + string(list()) + "\n"} {
		if batch, err := NewDecoder().Decode([]byte(body), from); err != nil || len(batch.Events) != 0 {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestMissingTimesStandInForEachOther(t *testing.T) {
	at := time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC)
	for _, field := range []string{"requestReceivedTimestamp", "stageTimestamp"} {
		e := decodeOne(t, fmt.Sprintf(`{%q:"2026-11-21T19:00:00+01:00"}`, field))
		if e.Time != at || e.StageTime != at {
			t.Errorf("only %s: Time %s, StageTime %s", field, e.Time, e.StageTime)
		}
	}
}

func TestLongListsAreCut(t *testing.T) {
	strs := func(n int) string {
		s := make([]string, n)
		for i := range s {
			s[i] = fmt.Sprintf(`"10.0.%d.%d"`, i/256, i%256)
		}
		return "[" + strings.Join(s, ",") + "]"
	}
	entries := func(n int, value string) string {
		s := make([]string, n)
		for i := range s {
			s[i] = fmt.Sprintf(`"a%05d.example.com/x":%s`, i, value)
		}
		return strings.Join(s, ",")
	}
	text := item(`,"sourceIPs":` + strs(5000) +
		`,"user":{"username":"system:serviceaccount:shop:cart","groups":` + strs(300) +
		`,"extra":{` + entries(2000, `["v"]`) + `,"authentication.kubernetes.io/pod-uid":["u-1"]}}` +
		`,"impersonatedUser":{"username":"x","extra":{"k":` + strs(1000) + `}}` +
		`,"annotations":{` + entries(257, `"v"`) + `,"authorization.k8s.io/decision":"allow"}`)
	batch, err := NewDecoder().Decode(list(item(""), text), from)
	if err != nil || len(batch.Events) != 2 {
		t.Fatalf("decode: %v", err)
	}
	want := []Cut{
		{1, "sourceIPs", 5000},
		{1, "annotations", 258},
		{1, "user.groups", 300},
		{1, "user.extra", 2001},
		{1, "impersonatedUser.extra values", 1000},
	}
	if diff := cmp.Diff(want, batch.Cut); diff != "" {
		t.Errorf("cuts (-want +got):\n%s", diff)
	}
	a := batch.Events[1].Audit
	if n := len(a.SourceIPs); n != MaxEntries || a.SourceIPs[0] != "10.0.0.0" || a.SourceIPs[n-1] != "10.0.19.135" {
		t.Errorf("source addresses: %d, last %s", n, a.SourceIPs[n-1])
	}
	if len(a.User.Groups) != MaxEntries || len(a.User.Extra) != MaxEntries || len(a.Annotations) != MaxEntries {
		t.Errorf("kept %d groups, %d extras, %d annotations", len(a.User.Groups), len(a.User.Extra), len(a.Annotations))
	}
	if a.Caller.UID != "u-1" || a.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Error("what Kubernetes itself wrote was cut off")
	}
	again, err := NewDecoder().Decode(list(item(""), text), from)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(batch.Events, again.Events); diff != "" {
		t.Errorf("the same event was cut differently:\n%s", diff)
	}
}

// TestWhatIsOwnedIsKept: neither what becomes of the body nor the next delivery
// changes an event that somebody keeps.
func TestWhatIsOwnedIsKept(t *testing.T) {
	for name := range captured(t) {
		d := NewDecoder()
		body := captured(t)[name]
		batch, err := d.Decode(body, from)
		if err != nil {
			t.Fatal(err)
		}
		owned := make([]*event.Event, 0, len(batch.Events))
		for _, e := range batch.Events {
			owned = append(owned, e.Own())
		}
		batch.Release()
		for i := range body {
			body[i] = 'x'
		}
		if _, err = d.Decode(captured(t)["exec-denied"], from); err != nil {
			t.Fatal(err)
		}
		want := decodeCaptured(t, name)
		for i, e := range owned {
			if e.Delivered != "" {
				t.Errorf("%s: event %d is still lent", name, i)
			}
			want[i].Delivered = ""
		}
		if diff := cmp.Diff(want, owned, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: what was kept has changed:\n%s", name, diff)
		}
	}
}

// TestOwnCopiesEveryText looks into every text of an owned event for memory of the delivery.
func TestOwnCopiesEveryText(t *testing.T) {
	body := list(item(`,"user":{"username":"` + strings.Repeat("u", maxShared) + `","uid":"1","groups":["g"],"extra":{"k":["v"]}},"impersonatedUser":{"username":"i"}` +
		`,"sourceIPs":["10.0.0.1","10.0.0.2"],"userAgent":"a\u0026b","objectRef":{"resource":"pods","namespace":"shop","name":"cart-0","uid":"u-9","apiVersion":"v1","subresource":"exec"}` +
		`,"responseStatus":{"metadata":{},"status":"Failure","message":"m","reason":"r","code":403},"requestObject":{"a":1},"responseObject":{"b":2},"annotations":{"x":"y"}`))
	for name, text := range map[string][]byte{"as API servers write": body, "otherwise": append([]byte(" "), body...)} {
		batch, err := NewDecoder().Decode(text, from)
		if err != nil || len(batch.Events) != 1 {
			t.Fatalf("%s: %d events, %v", name, len(batch.Events), err)
		}
		own := batch.Events[0].Own()
		begin := uintptr(unsafe.Pointer(&text[0]))
		eachText(reflect.ValueOf(own), "event", func(path string, at uintptr) {
			if at >= begin && at < begin+uintptr(len(text)) {
				t.Errorf("%s: %s is part of the delivery", name, path)
			}
		})
	}
}

// eachText calls visit with the memory of every text in v.
func eachText(v reflect.Value, path string, visit func(path string, at uintptr)) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); text != "" {
			visit(path, uintptr(unsafe.Pointer(unsafe.StringData(text))))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			eachText(v.Elem(), path, visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachText(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Len() > 0 {
			visit(path, v.Pointer())
			return
		}
		for i := range v.Len() {
			eachText(v.Index(i), path, visit)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			eachText(entries.Key(), path+" key", visit)
			eachText(entries.Value(), path+" value", visit)
		}
	default: // It has no text.
	}
}

// TestIDsOutliveTheClock: what is known of a clock does not change which event it is.
func TestIDsOutliveTheClock(t *testing.T) {
	want := decodeCaptured(t, "exec-tty")[0]
	batch, err := NewDecoder().Decode(captured(t)["exec-tty"], from)
	if err != nil {
		t.Fatal(err)
	}
	e := batch.Events[0]
	e.Clock = event.Clock{Offset: time.Minute, Measured: true}
	e.Time, e.StageTime = e.Time.Add(-time.Minute), e.StageTime.Add(-time.Minute)
	if own := e.Own(); own.ID != want.ID || own.Request != want.Request {
		t.Errorf("with a corrected clock the hashes are %s, %s instead of %s, %s", own.ID, own.Request, want.ID, want.Request)
	}
}

// TestAsTheAPIServerWouldDecide has what no API server writes.
func TestAsTheAPIServerWouldDecide(t *testing.T) {
	for name, tc := range map[string]struct {
		item string
		want func(a *event.Audit) bool
	}{
		"a name in other letters is another one": {item(`,"Verb":"delete","VERB":"x"`), func(a *event.Audit) bool { return a.Verb == "get" }},
		"of a name that comes twice the last":    {item(`,"verb":"delete"`), func(a *event.Audit) bool { return a.Verb == "delete" }},
		"an object that comes twice is one":      {item(`,"user":{"username":"a","uid":"1"},"user":{"username":"b"}`), func(a *event.Audit) bool { return a.User.Username == "b" && a.User.UID == "1" }},
		"null leaves what is there":              {item(`,"verb":null,"user":null,"objectRef":null`), func(a *event.Audit) bool { return a.Verb == "get" && a.User.Username == "" }},
		"a null object is none":                  {item(`,"requestObject":null,"responseObject":null`), func(a *event.Audit) bool { return a.RequestObject == nil && a.ResponseObject == nil }},
		"a null user is nobody":                  {item(`,"impersonatedUser":null`), func(a *event.Audit) bool { return a.ImpersonatedUser == nil }},
		"what is no UTF-8 is replaced":           {item(",\"userAgent\":\"a\xffb\""), func(a *event.Audit) bool { return a.UserAgent == "a\ufffdb" }},
		"half a surrogate is replaced":           {item(`,"userAgent":"a\ud800b"`), func(a *event.Audit) bool { return a.UserAgent == "a\ufffdb" }},
		"a name may be escaped":                  {item(`,"\u0075serAgent":"x"`), func(a *event.Audit) bool { return a.UserAgent == "x" }},
		"escapes stand for what they stand for":  {item(`,"userAgent":"\"\\\/\b\f\n\r\t\u0026\u00e9\u20ac\ud83d\ude00"`), func(a *event.Audit) bool { return a.UserAgent == "\"\\/\b\f\n\r\t&é€😀" }},
		"objects stay as they are": {item(`,"requestObject":{"a":1.50,"b":"\u0026\ud800","a":[null]}`), func(a *event.Audit) bool {
			return string(a.RequestObject) == `{"a":1.50,"b":"\u0026\ud800","a":[null]}`
		}},
		"members in another order":                {`{"stageTimestamp":"2026-11-21T18:00:00.000002Z","verb":"get","level":"Request"}`, func(a *event.Audit) bool { return a.Verb == "get" && a.Level == "Request" }},
		"members that nobody knows":               {item(`,"new":{"a":["}"]},"newer":1`), func(a *event.Audit) bool { return a.Verb == "get" }},
		"spaces":                                  {strings.ReplaceAll(item(""), `,"`, " ,\n\t\""), func(a *event.Audit) bool { return a.Verb == "get" }},
		"a value far down":                        {item(`,"requestObject":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), func(a *event.Audit) bool { return len(a.RequestObject) == 10_000 }},
		"of an annotation that comes twice, last": {item(`,"annotations":{"k":"1","k":"2"}`), func(a *event.Audit) bool { return a.Annotations["k"] == "2" && len(a.Annotations) == 1 }},
	} {
		batch, err := NewDecoder().Decode(list(item(""), tc.item, item("")), from)
		if err != nil || len(batch.Events) != 3 {
			t.Errorf("%s: %d events, %v, %v", name, len(batch.Events), batch.Rejected, err)
			continue
		}
		if a := batch.Events[1].Audit; !tc.want(a) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestCapturedListsAreReadInOnePass: what API servers really write must not need the other decoder.
func TestCapturedListsAreReadInOnePass(t *testing.T) {
	for name, text := range captured(t) {
		text = bytes.ReplaceAll(text, []byte("},\n{"), []byte("},{")) // which is for people who read them
		r := NewDecoder().newReader(text, from)
		if name == "empty" {
			continue
		}
		if !r.literal(listHead) {
			t.Fatalf("%s begins otherwise", name)
		}
		for i := 0; !r.literal("]"); i++ {
			if r.event() == nil {
				t.Errorf("%s: event %d is not", name, i)
				break
			}
			r.literal(",")
		}
	}
	for text, want := range map[string]bool{
		item(`,"userAgent":"a\u0026b","new":{"a":[1.5e-3]}`): true,
		item(`,"verb":"get"`):                                false,
		item(`,"user":null`):                                 false,
		item(`, "user":{}`):                                  false,
		item(",\"level\":\"a\xff\""):                         false,
	} {
		if got := NewDecoder().newReader([]byte(text), from).event() != nil; got != want {
			t.Errorf("%s is read in one pass: %v, want %v", text, got, want)
		}
	}
}

const listHead = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`

// TestSharedValues: users and annotations are found again by their text, and by nothing less.
func TestSharedValues(t *testing.T) {
	texts := make([]string, 3*sharedUsers)
	for i := range texts {
		texts[i] = fmt.Sprintf(`{"verb":"get","user":{"username":"system:serviceaccount:a-namespace-with-a-long-name:an-account","extra":{"k":["%d"]}},`+
			`"requestReceivedTimestamp":"2026-11-21T18:00:00.000001Z","stageTimestamp":"2026-11-21T18:00:00.000002Z","annotations":{"n":"%d"}}`, i, i)
	}
	d := NewDecoder()
	for range 2 {
		for begin := 0; begin < len(texts); begin += 1000 {
			batch, err := d.Decode(list(texts[begin:min(len(texts), begin+1000)]...), from)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range batch.Events {
				want := fmt.Sprint(begin + i)
				if got := e.Audit.User.Extra["k"][0]; got != want || e.Audit.Annotations["n"] != want {
					t.Fatalf("event %s has the user %s and the annotation %s", want, got, e.Audit.Annotations["n"])
				}
			}
			batch.Release()
		}
	}
}

// otherwise is what the decoder makes of a list with the API's decoder alone.
func otherwise(body []byte) (Batch, error) { return NewDecoder().newReader(body, from).otherList(body) }

// sameAsOtherwise holds both ways to decode against each other.
func sameAsOtherwise(t *testing.T, body []byte) {
	t.Helper()
	want, wantErr := otherwise(body)
	d := NewDecoder()
	for range 2 { // the second time with what is shared
		got, err := d.Decode(body, from)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if diff := cmp.Diff(want.Events, got.Events, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("events (-other decoder +ours):\n%s", diff)
		}
		if diff := cmp.Diff(want.Cut, got.Cut); diff != "" {
			t.Fatalf("cuts (-other decoder +ours):\n%s", diff)
		}
		if len(got.Rejected) != len(want.Rejected) {
			t.Fatalf("%d rejected, want %d", len(got.Rejected), len(want.Rejected))
		}
		for i, r := range want.Rejected {
			if g := got.Rejected[i]; g.Index != r.Index || g.Reason.Error() != r.Reason.Error() || string(g.Raw) != string(r.Raw) {
				t.Fatalf("rejected %+v, want %+v", g, r)
			}
		}
		got.Release()
	}
}

// FuzzItem changes one event, which finds more than changes to a whole list.
func FuzzItem(f *testing.F) {
	for _, text := range captured(f) {
		var l struct{ Items []json.RawMessage }
		if err := json.Unmarshal(text, &l); err != nil {
			f.Fatal(err)
		}
		for _, raw := range l.Items {
			f.Add([]byte(raw))
		}
	}
	f.Add([]byte(item(`,"userAgent":"\u0026\ud83d\ude00\n\"","responseStatus":{"metadata":{},"code":200,"code":1}`)))
	f.Add([]byte(item(`,"sourceIPs":["a","b"],"sourceIPs":null,"Verb":"x","verb":"y"`)))
	f.Add([]byte(`{"stageTimestamp":"2026-02-30T23:59:60.000000Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sameAsOtherwise(t, list(item(""), string(raw), item("")))
		var api auditv1.Event
		e, err := NewDecoder().DecodeEvent(raw, from)
		if apiErr := unmarshal(raw, &api); err != nil || apiErr != nil {
			return // Ours reads less of an event, and so less that can be wrong.
		}
		if len(e.Audit.SourceIPs) == MaxEntries || len(e.Audit.User.Extra) == MaxEntries || len(e.Audit.User.Groups) == MaxEntries || len(e.Audit.Annotations) == MaxEntries {
			return
		}
		want := fromAPI(&api)
		want.RequestObject, want.ResponseObject = e.Audit.RequestObject, e.Audit.ResponseObject // the API's are compacted
		if diff := cmp.Diff(want, e.Audit, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Audit{}, "Caller", "Target")); diff != "" {
			t.Fatalf("(-API +ours):\n%s", diff)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, text := range captured(f) {
		f.Add(text)
	}
	f.Add(list(`null`, `"],}"`, `[1,[2]]`, ` {"stageTimestamp" : "2026-01-01T00:00:00Z"} `, `-1e9`, `"\\\""`))
	f.Fuzz(func(t *testing.T, body []byte) {
		batch, err := NewDecoder().Decode(body, from)
		if err != nil {
			if !errors.Is(err, ErrNotEventList) || batch.Events != nil || batch.Rejected != nil {
				t.Fatalf("error %v with a result", err)
			}
			return
		}
		sameAsOtherwise(t, body)
		var plain struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := unmarshal(body, &plain); err != nil {
			t.Fatalf("decoded what is not JSON: %v", err)
		}
		if got := len(batch.Events) + len(batch.Rejected); got != len(plain.Items) {
			t.Fatalf("%d items became %d", len(plain.Items), got)
		}
		for _, r := range batch.Rejected {
			if string(r.Raw) != string(plain.Items[r.Index]) {
				t.Fatalf("item %d is %q, want %q", r.Index, r.Raw, plain.Items[r.Index])
			}
			if r.Reason == nil || len(r.Reason.Error()) > 4*maxErrorText {
				t.Fatalf("item %d: reason %v", r.Index, r.Reason)
			}
		}
		for _, e := range batch.Events {
			if e.Identify(); e.ID == "" || e.Request == "" || e.Time.IsZero() || e.StageTime.IsZero() || e.Audit == nil {
				t.Fatalf("incomplete event %+v", e)
			}
			if e.Time.Sub(received) > MaxAhead || len(e.Audit.SourceIPs) > MaxEntries || len(e.Audit.User.Extra) > MaxEntries {
				t.Fatalf("event beyond its limits: %+v", e)
			}
		}
	})
}

// bigList is a batch of 400 captured events, as an API server sends it.
func bigList(b *testing.B) []byte {
	b.Helper()
	all := make([]string, 0, 400)
	for len(all) < 400 {
		for _, text := range captured(b) {
			var l struct{ Items []json.RawMessage }
			if err := json.Unmarshal(text, &l); err != nil {
				b.Fatal(err)
			}
			for _, raw := range l.Items {
				all = append(all, string(raw))
			}
		}
	}
	return list(all[:400]...)
}

func BenchmarkDecode(b *testing.B) {
	body := bigList(b)
	d := NewDecoder()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		batch, err := d.Decode(body, from)
		if err != nil || len(batch.Events) != 400 {
			b.Fatalf("%d events, %v", len(batch.Events), err)
		}
		batch.Release()
	}
}

// BenchmarkAPITypes is what Decode is measured against.
func BenchmarkAPITypes(b *testing.B) {
	body := bigList(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var l auditv1.EventList
		if err := json.Unmarshal(body, &l); err != nil {
			b.Fatal(err)
		}
	}
}
