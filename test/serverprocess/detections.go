package serverprocess

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Detection is one line that the server wrote: what tests read of the ECS document.
type Detection struct {
	// Offset is where the line begins in the file.
	Offset int64 `json:"-"`

	Time  time.Time `json:"@timestamp"`
	Event struct {
		ID      string    `json:"id"`
		Created time.Time `json:"created"`
	} `json:"event"`
	Rule struct {
		ID string `json:"id"`
	} `json:"rule"`
	Orchestrator struct {
		Namespace string `json:"namespace"`
		Resource  struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"resource"`
	} `json:"orchestrator"`
	Process struct {
		EntityID string `json:"entity_id"`
	} `json:"process"`
	UserAgent struct {
		Original string `json:"original"`
	} `json:"user_agent"`
	Kubernetes struct {
		Audit struct {
			AuditID string `json:"auditID"`
		} `json:"audit"`
	} `json:"kubernetes"`
	Portcullis struct {
		Detection struct {
			ID           string   `json:"id"`
			Action       string   `json:"action"`
			Why          string   `json:"why"`
			Confidence   string   `json:"confidence"`
			Candidates   []string `json:"candidates"`
			State        string   `json:"state"`
			SupersededBy string   `json:"superseded_by"`
			Coverage     struct {
				Status string `json:"status"`
				Holes  []struct {
					Source string `json:"source"`
					Cause  string `json:"cause"`
				} `json:"holes"`
			} `json:"coverage"`
			Events []struct {
				ID     string    `json:"id"`
				Kind   string    `json:"kind"`
				Time   time.Time `json:"time"`
				Source string    `json:"source"`
				PodUID string    `json:"pod_uid"`
			} `json:"events"`
		} `json:"detection"`
	} `json:"portcullis"`
}

// Detections returns the whole lines that all processes of the server have written so far, in their
// order. The line that a killed process was writing is left out.
func (s *Site) Detections() ([]Detection, error) {
	data, err := os.ReadFile(s.file("detections.ndjson"))
	if err != nil {
		return nil, fmt.Errorf("read the detections: %w", err)
	}
	var out []Detection
	all := int64(len(data))
	for len(data) > 0 {
		offset := all - int64(len(data))
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		if !whole || len(line) == 0 {
			continue
		}
		var d Detection
		if err := json.Unmarshal(line, &d); err != nil {
			// A killed process' half line, which the next one continued: its own line begins within it.
			begin := bytes.LastIndex(line, []byte(`{"@timestamp"`))
			if begin <= 0 || json.Unmarshal(line[begin:], &d) != nil {
				return nil, fmt.Errorf("a line of the detections is no document: %w: %.200q", err, line)
			}
		}
		d.Offset = offset
		out = append(out, d)
	}
	return out, nil
}

// Told returns how many bytes of detections have been written so far.
func (s *Site) Told() (int64, error) {
	info, err := os.Stat(s.file("detections.ndjson"))
	if err != nil {
		return 0, fmt.Errorf("read the detections: %w", err)
	}
	return info.Size(), nil
}
