package collector

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// maxToken bounds a token. A service account's is about 1 KiB.
const maxToken = 16 << 10

// ErrRefused is wrapped by an Authenticator's error when the token is not good,
// as opposed to one that could not be checked. The error's text is shown to the
// agent and must not hold the token.
var ErrRefused = errors.New("token refused")

// Agent is whom a token was issued to.
type Agent struct {
	// Node is the name of the node that the agent runs on; never empty.
	Node string
	// PodName and PodUID are the agent's own pod; empty where the token does not say.
	PodName, PodUID string
}

// Authenticator tells whose token it is. It must be quick and bounded in itself:
// anybody who reaches the port can make it work.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (Agent, error)
}

// authenticate reads the caller's token and has it checked. Its error is a gRPC status.
func (s *Server) authenticate(ctx context.Context) (Agent, error) {
	token, err := bearerToken(ctx)
	if err != nil {
		s.metrics.auth.WithLabelValues("refused").Inc()
		return Agent{}, status.Error(codes.Unauthenticated, err.Error())
	}
	agent, err := s.opts.Authenticator.Authenticate(ctx, token)
	switch {
	case err == nil && agent.Node != "":
		s.metrics.auth.WithLabelValues("ok").Inc()
		return agent, nil
	case err == nil:
		err = fmt.Errorf("%w: it names no node", ErrRefused)
		fallthrough
	case errors.Is(err, ErrRefused):
		s.metrics.auth.WithLabelValues("refused").Inc()
		s.refusals.Do(func() { s.opts.Logger.Warn("agent refused", "error", err) })
		return Agent{}, status.Error(codes.Unauthenticated, err.Error())
	default:
		s.metrics.auth.WithLabelValues("unavailable").Inc()
		s.refusals.Do(func() { s.opts.Logger.Error("an agent's token could not be checked", "error", err) })
		return Agent{}, status.Error(codes.Unavailable, "the token could not be checked; the server's log says why")
	}
}

func bearerToken(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return "", fmt.Errorf("%d authorization values, want one: Bearer <token>", len(values))
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", errors.New("the authorization value is not of the form: Bearer <token>")
	case len(token) > maxToken:
		return "", fmt.Errorf("the token is longer than %d bytes", maxToken)
	}
	return token, nil
}
