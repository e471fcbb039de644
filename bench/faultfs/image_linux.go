package faultfs

import (
	"os"
	"path/filepath"
)

// image is the data that a power failure after a change leaves.
type image struct {
	after int
	kind  string
	root  map[string]any // values: content, or map[string]any for a directory
}

func writeImage(path string, root map[string]any) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for name, object := range root {
		at := filepath.Join(path, name)
		if directory, ok := object.(map[string]any); ok {
			if err := writeImage(at, directory); err != nil {
				return err
			}
			continue
		}
		c := object.(content)
		f, err := os.OpenFile(at, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		for i, page := range c.pages {
			if n := min(pageSize, c.size-i*pageSize); n > 0 && err == nil {
				_, err = f.WriteAt(page[:n], i*pageSize)
			}
		}
		if err == nil {
			err = f.Truncate(c.size)
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}
