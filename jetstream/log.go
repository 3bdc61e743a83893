package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog passes what the server inside has to say on to a slog.Logger. It has
// no messages of constant text, so its text is an attribute.
type serverLog struct {
	logger *slog.Logger

	mu    sync.Mutex
	fatal error
}

func (l *serverLog) log(level slog.Level, format string, values []any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, "nats server", "said", fmt.Sprintf(format, values...))
	}
}

// Noticef is below Info: how the server inside starts and ends is nobody's business.
func (l *serverLog) Noticef(format string, v ...any) { l.log(slog.LevelDebug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log(slog.LevelDebug-4, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log(slog.LevelDebug-8, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log(slog.LevelError, format, v) }

// Fatalf is how the server inside says that it could not start. A server of its own would exit.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = errors.Join(l.fatal, fmt.Errorf(format, v...))
}

func (l *serverLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
