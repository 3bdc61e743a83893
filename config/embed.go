package config

import (
	"embed"
	"io/fs"
)

//go:embed rules/*.yaml
var rules embed.FS

// Rules returns the shipped rule files, at the root of the file system. Their
// unit tests are beside them; package rule knows them by name and leaves them out.
func Rules() fs.FS {
	sub, err := fs.Sub(rules, "rules")
	if err != nil {
		// The directory is embedded two lines above: this cannot happen in a binary that was built.
		panic(err)
	}
	return sub
}
