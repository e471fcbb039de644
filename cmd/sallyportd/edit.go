package main

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"sallyport/sessions/durable"
)

// readWhole reads a file, and returns its mode too.
func readWhole(path string) (text []byte, info fs.FileInfo, err error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		text, err = io.ReadAll(f)
	}
	return text, info, err
}

// setKeys sets keys of the top-level table in a TOML text, one on a line. It
// replaces the line of the key, or inserts a line after that of another key. It
// removes a key that has no value. Comments and all other lines stay.
func setKeys(text, after string, keys [][2]string) (string, error) {
	lines := strings.Split(text, "\n")
	at := func(key string) int {
		for i, l := range lines {
			if strings.HasPrefix(strings.TrimSpace(l), "[") {
				return -1
			}
			if name, _, ok := strings.Cut(l, "="); ok && strings.TrimSpace(name) == key {
				return i
			}
		}
		return -1
	}
	for _, k := range keys {
		line := k[0] + " = " + k[1]
		switch i := at(k[0]); {
		case k[1] == "" && i >= 0:
			lines = slices.Delete(lines, i, i+1)
			continue
		case k[1] == "":
			continue
		case i >= 0:
			lines[i] = line
			continue
		}
		i := at(after)
		if i < 0 {
			return "", errors.New("expected the line of " + after)
		}
		lines = slices.Insert(lines, i+1, line)
		after = k[0]
	}
	return strings.Join(lines, "\n"), nil
}
