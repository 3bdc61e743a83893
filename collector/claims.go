package collector

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// claims are what a service account's token says about itself.
type claims struct {
	Audience audiences `json:"aud"`
	Subject  string    `json:"sub"`
}

// audiences are one string or several.
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

var errNoJWT = errors.New("it is not a service account's token (a JWT of three parts)")

// parseClaims reads a token's claims and verifies nothing: anybody can write
// them. They may serve to refuse a token, never to accept it.
func parseClaims(token string) (claims, error) {
	if len(token) > maxToken {
		return claims{}, fmt.Errorf("it is longer than %d bytes", maxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return claims{}, errNoJWT
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errNoJWT // the cause would show a part of the token
	}
	var c claims
	if json.Unmarshal(payload, &c) != nil {
		return claims{}, errNoJWT
	}
	return c, nil
}
