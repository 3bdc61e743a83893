package pki

import "context"

// Check is one check of Manager.Run.
func Check(ctx context.Context, m *Manager) error { return m.check(ctx) }
