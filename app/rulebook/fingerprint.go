package rulebook

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"

	"github.com/portcullis-dev/portcullis/rule/source"
)

// fingerprint tells contents of folders apart.
type fingerprint [sha256.Size]byte

// errTooMuch ends a look at folders.
var errTooMuch = errors.New("too much to read")

// fingerprintOf looks at every file in the folders that may be read for rules.
// What cannot be read is a part of it, too, so that it differs once it can. The
// error says that there are more than maxBytes to read.
func fingerprintOf(directories []string, maxBytes int) (fingerprint, error) {
	h := sha256.New()
	total := 0
	for _, dir := range directories {
		writeText(h, dir)
		err := source.Walk(os.DirFS(dir), dir, isRuleFile, func(f source.File) error {
			writeText(h, f.Name)
			writeText(h, f.Text)
			if f.Err != nil {
				writeText(h, f.Err.Error())
			}
			if total += len(f.Text); total > maxBytes {
				return errTooMuch
			}
			return nil
		})
		switch {
		case errors.Is(err, errTooMuch):
			return fingerprint{}, fmt.Errorf("%s: the rule files of all folders have more than %d bytes", dir, maxBytes)
		case err != nil:
			writeText(h, err.Error())
		}
	}
	return fingerprint(h.Sum(nil)), nil
}

// isRuleFile accepts the files of both formats, and rules' tests, which are read
// by nobody here: to look at one in vain costs less than to know too much.
func isRuleFile(path string) bool { return source.HasExtension(path, ".yaml", ".yml", ".toml") }

// writeText writes a text with its length, so that no two sequences of texts look alike.
func writeText(h hash.Hash, text string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(text)))
	h.Write(length[:])
	h.Write([]byte(text))
}
