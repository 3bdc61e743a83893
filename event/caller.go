package event

import (
	"errors"
	"fmt"
	"strings"
)

// ExtraCredentialID is the extra by which an authenticator names the one token or client
// certificate that a request was made with, such as JTI=… or X509SHA256=….
const ExtraCredentialID = "authentication.kubernetes.io/credential-id"

// ServiceAccountOf is the service account that a user name stands for.
func ServiceAccountOf(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}

// Credential is the one credential that the detection's requests were made with. Like the user
// it is that of who made a request, never of one that was impersonated. The error says why there is none.
func (d *Detection) Credential() (string, error) {
	id := ""
	for _, e := range d.Events {
		if e.Audit == nil {
			continue
		}
		switch own := single(e.Audit.User.Extra[ExtraCredentialID]); {
		case own == "":
			return "", errors.New("one of its requests does not say with which credential it was made")
		case id == "":
			id = own
		case id != own:
			return "", fmt.Errorf("its requests were made with different credentials, %q and %q", id, own)
		}
	}
	if id == "" {
		return "", errors.New("no request is part of it")
	}
	return id, nil
}

// Requester is the user who made all of the detection's requests. The error says why there is none. The human behind it,
// where it happened in an exec session, is Detection.User.
func (d *Detection) Requester() (string, error) {
	user := ""
	for _, e := range d.Events {
		if e.Audit == nil || e.Audit.User.Username == "" {
			continue
		}
		switch own := e.Audit.User.Username; {
		case user == "":
			user = own
		case user != own:
			return user, fmt.Errorf("its requests are of different users, %q and %q", user, own)
		}
	}
	if user == "" {
		return "", errors.New("no event of it names a user")
	}
	return user, nil
}

// Groups are those of whoever made the detection's requests, or asked for the exec session that they
// were made in, each once.
func (d *Detection) Groups() []string {
	var groups []string
	seen := map[string]bool{}
	add := func(more []string) {
		for _, g := range more {
			if !seen[g] {
				seen[g] = true
				groups = append(groups, g)
			}
		}
	}
	for _, e := range d.Events {
		if e.Audit != nil {
			add(e.Audit.User.Groups)
		}
		if e.Session != nil {
			add(e.Session.Groups)
		}
	}
	return groups
}
