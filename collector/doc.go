// Package collector receives what the node agents see: one gRPC stream per
// agent (package api/telemetry/v1) becomes event.Events.
//
// # Who may send, and about whom
//
// The server shows a certificate; an agent shows a token as
// "authorization: Bearer …". An Authenticator says whose it is and which node it
// was made for: TokenReviewer asks the API server. The node comes from the token,
// never from what the agent says about itself, and an agent may speak only for
// pods that run there: an event about a pod that Placement knows elsewhere is
// refused, counted and logged as what it may be, an attack from a captured
// node, and becomes an event of Portcullis' own (ActionForeignPod), which a rule detects. A pod that Placement does not know is let through: the news of a pod
// may take longer than its first process. (Whoever completes the event must compare
// its Pod.Node, which is the agent's, once the pod is known.) After a start no pod is
// known at all, so no stream begins until Options.Ready; agents keep their events
// for so long.
//
// # What an acknowledgement means
//
// An agent keeps a batch until it is acknowledged, and sends it again on its next
// stream otherwise. So a batch is acknowledged only after the Pipeline has taken
// it over, and a batch that was acknowledged already is acknowledged again and
// otherwise left alone. Should a resent batch reach another replica (or this one
// after a restart), its events come twice, with the same IDs: an ID is a hash of
// node, session and the event's number in it, which stay the same however often
// the event is sent. A new agent process has a new session, and numbers anew; what the one before had
// sent, and kept on disk because nobody acknowledged it, comes with its first name (Sent), by which it is left alone
// if it had arrived, and has its ID otherwise.
//
// # Loss
//
// Nothing is lost silently. Agents count what they could not send; numbers that
// are missing show what never arrived; both become metrics, and a warning in the
// log. An event that makes no sense is refused alone: the batch is acknowledged
// all the same, since sending it again would not make it better.
//
// What a session had sent, and counted as lost, is remembered by Losses, also for the next process: what is new
// after a time away is a loss since that began, and what is old is none.
//
// While the Pipeline is busy the stream waits, bounded in time: the agent notices
// by gRPC's flow control and keeps events in its spool.
//
// # Clocks
//
// An agent stamps events by its node's clock. It answers the welcome, and a ping now and
// then, with what that clock shows: package skew makes an offset and a tolerance of it, by
// which events' times are corrected (event.Clock). The first answer comes before the
// first event. The offset is the node's, whichever process sends or receives, and is stored (Options.Store)
// before an event is corrected by it: an event that is sent again has the time that it had.
//
// # Commands
//
// [Server.EndSession] asks the agent on a node to end an exec session, on the
// agent's own stream, and waits for the answer. Only the replica that has the
// stream can ask. What an agent is asked for it checks itself: see package agent/session.
//
// # The barrier
//
// [Server.Flush] returns when everything that a node's kernel had recorded before is with the Pipeline. The agent's answer comes behind
// the batches that it means, on a stream that is dealt with in order, so nothing has to be counted: by the time that the answer is
// read they have been taken over.
//
// # Streams end
//
// A stream ends by itself at a random age of about half an hour, so that tokens
// are checked again and agents spread over replicas; the agent reconnects at
// once. When the server stops, streams finish the batch in hand first.
package collector
