package tomlfile

import (
	"fmt"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/textfile"
)

// CheckVersion returns an error about a text whose key "version" is later than latest, with
// a hint. It comes before Decode, which would name the first key that this program does not
// know, and not the reason. A text that it cannot read is left to Decode.
func CheckVersion(path string, data []byte, latest int, program, remedy string) error {
	data, err := textfile.Decode(path, data)
	if err != nil {
		return nil
	}
	var of struct {
		Version int64 `toml:"version"`
	}
	if toml.Unmarshal(data, &of) != nil || of.Version <= int64(latest) {
		return nil
	}
	return hint.With(&Error{path, walk(data).lines["version"], "version", fmt.Sprintf(
		"expected %s, the version of this file format, got %d, which requires a newer %s", upTo(latest), of.Version, program)}, remedy)
}

// upTo names the versions that a program reads.
func upTo(latest int) string {
	if latest == 1 {
		return "1"
	}
	return fmt.Sprintf("1 to %d", latest)
}
