//go:build !linux

package steady

import "time"

func sinceBoot() func() time.Duration { return sinceNow() }
