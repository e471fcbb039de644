package presence

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"sallyport/sessions/durable"
)

// InstanceFile is the name of the file with the instance, in the state directory.
const InstanceFile = "gateway"

const instanceFormat = "sallyport instance %016x\n"

// makeInstance reads the instance, or makes one.
func makeInstance(dir string) (uint64, error) {
	n, err := Instance(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return n, err
	}
	n = rand.Uint64()
	err = durable.WriteFile(filepath.Join(dir, InstanceFile), fmt.Appendf(nil, instanceFormat, n), 0o600)
	if err != nil {
		return 0, fmt.Errorf("write the instance of this gateway: %w", err)
	}
	return n, nil
}

// Instance reads the number by which a gateway recognises its own key after a crash.
func Instance(dir string) (n uint64, err error) {
	path := filepath.Join(dir, InstanceFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read the instance of this gateway: %w", err)
	}
	_, err = fmt.Sscanf(string(text), instanceFormat, &n)
	if err != nil || fmt.Sprintf(instanceFormat, n) != string(text) {
		return 0, &InstanceError{path}
	}
	return n, nil
}

// InstanceError is the error of a damaged file.
type InstanceError struct{ Path string }

func (e *InstanceError) Error() string {
	return fmt.Sprintf("the instance of this gateway, %s, is damaged", e.Path)
}

// Hint returns a remedy.
func (e *InstanceError) Hint() string {
	return "remove the file, and start the server after 15 seconds"
}
