package field

import (
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func fileOf(e *event.Event, create bool) *event.File {
	if e.File == nil && create {
		e.File = &event.File{}
	}
	return e.File
}

func fileFields() []definition {
	return []definition{
		textRow("file.path", agent, "The path as the container names it, before symbolic links.",
			fileOf, func(f *event.File) *string { return &f.Path }),
		pathRow("file.name", "The last element of file.path.", func(path string) string {
			_, name := splitPath(path)
			return name
		}, func(path, name string) string {
			if path == "" {
				return name
			}
			return path
		}),
		pathRow("file.extension", "What follows the last dot of file.name.", extension, func(path, extension string) string {
			if path == "" && extension != "" {
				return "file." + extension
			}
			return path
		}),
		pathRow("file.directory", "file.path without its last element.", func(path string) string {
			directory, _ := splitPath(path)
			return directory
		}, func(path, directory string) string {
			if directory == "" || strings.Contains(path, "/") {
				return path
			}
			return strings.TrimSuffix(directory, "/") + "/" + path
		}),
		textRow("file.target_path", agent, "The path that the kernel opened, links followed.",
			fileOf, func(f *event.File) *string { return &f.ResolvedPath }),
	}
}

// pathRow is a part of file.path. complete makes a path of what is known of it
// so far and the part.
func pathRow(name, doc string, of func(path string) string, complete func(path, part string) string) definition {
	return derivedRow(name, value.Keyword, agent, doc,
		func(r *Record) value.Value {
			if r.event.File == nil {
				return value.Missing()
			}
			return textValue(of(r.event.File.Path))
		},
		func(e *event.Event, given input) error {
			part, err := given.text()
			f := fileOf(e, true)
			f.Path = complete(f.Path, part)
			return err
		})
}

// splitPath separates a path's directory and last element.
func splitPath(path string) (directory, name string) {
	slash := strings.LastIndexByte(path, '/')
	switch {
	case slash < 0:
		return "", path
	case slash == 0:
		return "/", path[1:]
	default:
		return path[:slash], path[slash+1:]
	}
}

// extension is what follows a name's last dot. A leading dot hides a file, it
// starts no extension.
func extension(path string) string {
	_, name := splitPath(path)
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return ""
	}
	return name[dot+1:]
}
