package rulebook

import (
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// maxWatched bounds the folders that are watched: the kernel has few watches to
// give, and the rest is found at intervals.
const maxWatched = 256

// watcher is told by the kernel when something in the folders has changed. It
// gives hints: that none comes says nothing.
type watcher struct {
	directories []string
	notify      *fsnotify.Watcher // nil where the kernel gives none
	logger      *slog.Logger
}

func watch(directories []string, logger *slog.Logger) *watcher {
	w := &watcher{directories: directories, logger: logger}
	if len(directories) == 0 {
		return w
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("rule files cannot be watched; they are looked at from time to time", "error", err)
		return w
	}
	w.notify = notify
	w.renew()
	return w
}

// renew watches the folders that there are now, at any depth.
func (w *watcher) renew() {
	if w.notify == nil {
		return
	}
	for _, dir := range w.directories {
		w.add(dir)
	}
}

func (w *watcher) add(dir string) {
	// What cannot be listed or watched is looked at from time to time.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir
		case path != dir && entry.IsDir() && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case path != dir && !entry.IsDir():
			return nil
		case len(w.notify.WatchList()) >= maxWatched:
			return fs.SkipAll
		}
		if err := w.notify.Add(path); err != nil {
			w.logger.Debug("folder of rules cannot be watched", "folder", path, "error", err)
		}
		return nil
	})
}

// hints says that something may have changed.
func (w *watcher) hints() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

// lost says that hints may have been lost, which is a hint as well.
func (w *watcher) lost() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close() // there is nothing that it could lose
	}
}
