package auditsink

import (
	"encoding/json"
	"fmt"
	"time"

	kjson "sigs.k8s.io/json"
)

// The wire types are the parts of audit.k8s.io/v1 that Portcullis reads, and no
// more: what nobody reads is not kept in memory. A test holds them against the
// API's own Go types.

// unmarshal is the API server's own decoder: names are what they are, in upper or
// lower case; of a name that comes twice the last counts; what is no UTF-8 becomes
// U+FFFD; null leaves what is there.
func unmarshal(text []byte, out any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(text, out)
}

type wireList struct {
	Kind       string          `json:"kind"`
	APIVersion string          `json:"apiVersion"`
	Items      json.RawMessage `json:"items"`
}

type wireEvent struct {
	Level                    string            `json:"level"`
	AuditID                  string            `json:"auditID"`
	Stage                    string            `json:"stage"`
	RequestURI               string            `json:"requestURI"`
	Verb                     string            `json:"verb"`
	User                     wireUser          `json:"user"`
	ImpersonatedUser         *wireUser         `json:"impersonatedUser"`
	SourceIPs                []string          `json:"sourceIPs"`
	UserAgent                string            `json:"userAgent"`
	ObjectRef                wireRef           `json:"objectRef"`
	ResponseStatus           wireStatus        `json:"responseStatus"`
	RequestObject            json.RawMessage   `json:"requestObject"`
	ResponseObject           json.RawMessage   `json:"responseObject"`
	RequestReceivedTimestamp wireTime          `json:"requestReceivedTimestamp"`
	StageTimestamp           wireTime          `json:"stageTimestamp"`
	Annotations              map[string]string `json:"annotations"`
}

type wireUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

type wireRef struct {
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	UID         string `json:"uid"`
	APIGroup    string `json:"apiGroup"`
	APIVersion  string `json:"apiVersion"`
}

type wireStatus struct {
	Code    int32  `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// wireTime is a metav1.MicroTime: RFC 3339, or null for the zero time.
type wireTime struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (t *wireTime) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	if len(text) < 2 || text[0] != '"' {
		return fmt.Errorf("timestamp %s is not a string", shorten(string(text)))
	}
	parsed, err := time.Parse(time.RFC3339Nano, string(text[1:len(text)-1]))
	if err != nil {
		return fmt.Errorf("timestamp %s is not in RFC 3339", shorten(string(text)))
	}
	t.Time = parsed.UTC()
	return nil
}
