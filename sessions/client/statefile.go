package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"sallyport/sessions/durable"
)

// readMemory returns the text of a file that the client can do without; empty: there is no
// file. If another kind of file has the path, or the client cannot read the file, it is not
// writable: the client must not replace it.
func readMemory(path string, limit int64) (text string, writable bool) {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return "", errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return "", false
	}
	return string(b), true
}

// changeMemory replaces the text of such a file, under its lock. If it cannot, the client
// goes on without.
func changeMemory(path string, limit int64, change func(text string) []byte) {
	if durable.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), memoryTime)
	defer cancel()
	lock, err := durable.TakeLock(ctx, path+".lock", path, lockRetry)
	if err != nil {
		return
	}
	defer lock.Close()
	if text, writable := readMemory(path, limit); writable {
		durable.WriteFile(path, change(text), 0o600)
	}
}

// readRegular reads a regular file: it does not wait for the writer of a FIFO.
func readRegular(path string) ([]byte, error) {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
