package cost

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// The numbers of fields in the protocol.
const (
	fieldBatch    = 2 // of AgentMessage
	fieldSequence = 1 // of Batch
)

// codec is gRPC's own. A real server is on another machine: where its work would be taken for the agent's, it reads no more of a batch
// than its number, which is what it acknowledges.
type codec struct {
	encoding.CodecV2
	numbers atomic.Bool
}

func newCodec() *codec { return &codec{CodecV2: encoding.GetCodecV2("proto")} }

// Unmarshal implements encoding.CodecV2.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*telemetryv1.AgentMessage)
	if !ok || !c.numbers.Load() {
		return c.CodecV2.Unmarshal(data, v)
	}
	text := data.Materialize()
	number, _, n := protowire.ConsumeTag(text)
	if number != fieldBatch {
		return c.CodecV2.Unmarshal(data, v)
	}
	batch, size := protowire.ConsumeBytes(text[n:])
	if size < 0 {
		return protowire.ParseError(size)
	}
	field, _, n := protowire.ConsumeTag(batch)
	if field != fieldSequence {
		return fmt.Errorf("a batch begins with field %d", field)
	}
	sequence, size := protowire.ConsumeVarint(batch[n:])
	if size < 0 {
		return protowire.ParseError(size)
	}
	m.Message = &telemetryv1.AgentMessage_Batch{Batch: &telemetryv1.Batch{Sequence: sequence}}
	return nil
}
