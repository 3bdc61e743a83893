package collector

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauthv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
)

// DefaultAudience is the audience of the agents' tokens. A token for it is of no
// use as an API token.
const DefaultAudience = "portcullis"

// The extras by which the API server says where a bound token's pod runs.
const (
	extraNodeName = "authentication.kubernetes.io/node-name"
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
)

const (
	// cacheFor bounds how long a token that was revoked (its pod deleted) is
	// still taken; the API server's own cache is of that order.
	cacheFor = time.Minute
	// cacheRefusalFor is shorter: what was refused may just not be ready yet.
	cacheRefusalFor = 10 * time.Second
	maxCached       = 8192
	// maxReviews bounds the reviews in progress, since anybody who reaches the
	// port can ask for one.
	maxReviews    = 16
	reviewTimeout = 5 * time.Second
)

// TokenReviewerOptions are a TokenReviewer's dependencies and settings.
type TokenReviewerOptions struct {
	// Reviews creates TokenReviews.
	Reviews clientauthv1.TokenReviewInterface
	// Audience that tokens must be for; empty means DefaultAudience.
	Audience string
	// Namespace and ServiceAccount name the agents' service account.
	Namespace, ServiceAccount string
	Clock                     func() time.Time
}

// TokenReviewer is the Authenticator that asks the API server. What it heard it
// remembers for a minute by the token's hash.
type TokenReviewer struct {
	opts     TokenReviewerOptions
	username string
	slots    chan struct{}

	mu sync.Mutex
	// Good and bad ones apart: whoever floods the port with tokens must not
	// drive the agents' out.
	good, refused verdicts
}

// tokenHash stands for a token, which is kept nowhere.
type tokenHash [sha256.Size]byte

type verdicts map[tokenHash]verdict

type verdict struct {
	agent   Agent
	err     error
	expires time.Time
}

// NewTokenReviewer returns a TokenReviewer.
func NewTokenReviewer(opts TokenReviewerOptions) (*TokenReviewer, error) {
	switch {
	case opts.Reviews == nil:
		return nil, errors.New("collector: TokenReviewerOptions.Reviews is nil")
	case opts.Namespace == "":
		return nil, errors.New("collector: TokenReviewerOptions.Namespace is empty")
	case opts.ServiceAccount == "":
		return nil, errors.New("collector: TokenReviewerOptions.ServiceAccount is empty")
	case opts.Clock == nil:
		return nil, errors.New("collector: TokenReviewerOptions.Clock is nil")
	}
	if opts.Audience == "" {
		opts.Audience = DefaultAudience
	}
	return &TokenReviewer{
		opts:     opts,
		username: "system:serviceaccount:" + opts.Namespace + ":" + opts.ServiceAccount,
		slots:    make(chan struct{}, maxReviews),
		good:     make(verdicts),
		refused:  make(verdicts),
	}, nil
}

// Authenticate implements Authenticator. An error that wraps ErrRefused is about
// the token, any other about the API server. A token that cannot be an agent's
// by what it says itself is refused without a request: anybody who reaches the port can
// send any number of those.
func (r *TokenReviewer) Authenticate(ctx context.Context, token string) (Agent, error) {
	key := tokenHash(sha256.Sum256([]byte(token)))
	if v, ok := r.cached(key); ok {
		return v.agent, v.err
	}
	if err := r.possible(token); err != nil {
		return Agent{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return Agent{}, fmt.Errorf("wait for other token reviews: %w", ctx.Err())
	}
	review, err := r.opts.Reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{r.opts.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return Agent{}, fmt.Errorf("review token: %w", err)
	}
	agent, err := r.judge(&review.Status)
	r.remember(key, agent, err)
	return agent, err
}

// possible refuses what the API server could only refuse as well, or judge would. Nothing
// follows from a nil error.
func (r *TokenReviewer) possible(token string) error {
	c, err := parseClaims(token)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case !slices.Contains(c.Audience, r.opts.Audience):
		return fmt.Errorf("%w: it is not for audience %q", ErrRefused, r.opts.Audience)
	case c.Subject != r.username:
		return fmt.Errorf("%w: it is of %.200q, want %q", ErrRefused, c.Subject, r.username)
	}
	return nil
}

func (r *TokenReviewer) judge(s *authenticationv1.TokenReviewStatus) (Agent, error) {
	refuse := func(format string, args ...any) (Agent, error) {
		return Agent{}, fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
	}
	switch {
	case !s.Authenticated:
		return refuse("the API server does not accept it for audience %q (%.200s)", r.opts.Audience, s.Error)
	case !slices.Contains(s.Audiences, r.opts.Audience):
		// An authenticator that knows no audiences accepts any token.
		return refuse("it is not for audience %q", r.opts.Audience)
	case s.User.Username != r.username:
		return refuse("it is of %.200q, want %q", s.User.Username, r.username)
	}
	agent := Agent{
		Node:    single(s.User.Extra[extraNodeName]),
		PodName: single(s.User.Extra[extraPodName]),
		PodUID:  single(s.User.Extra[extraPodUID]),
	}
	if agent.Node == "" {
		return refuse("it is not bound to a node (no %s): it must be a projected token of a running pod, "+
			"and the API server Kubernetes 1.30 or newer", extraNodeName)
	}
	return agent, nil
}

func single(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

func (r *TokenReviewer) cached(key tokenHash) (verdict, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.good[key]
	if !ok {
		v, ok = r.refused[key]
	}
	if !ok || !r.opts.Clock().Before(v.expires) {
		return verdict{}, false
	}
	return v, true
}

func (r *TokenReviewer) remember(key tokenHash, agent Agent, err error) {
	now := r.opts.Clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.refused.add(key, verdict{err: err, expires: now.Add(cacheRefusalFor)}, now)
		return
	}
	r.good.add(key, verdict{agent: agent, expires: now.Add(cacheFor)}, now)
}

// add makes room by letting go of what has expired, or else of everything: that
// costs some reviews again, and no search for the oldest at every addition.
func (v verdicts) add(key tokenHash, what verdict, now time.Time) {
	if len(v) >= maxCached {
		for old, verdict := range v {
			if !now.Before(verdict.expires) {
				delete(v, old)
			}
		}
		if len(v) > maxCached/2 {
			clear(v)
		}
	}
	v[key] = what
}
