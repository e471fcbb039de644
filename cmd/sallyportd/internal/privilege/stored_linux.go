package privilege

import (
	"os"
	"strconv"
)

// storedPrefix begins the names of the descriptors of the service manager's store.
const storedPrefix = "stored-"

// passStored adds descriptors of the service manager's store to those for the next program.
func (d descriptors) passStored(stored []int) {
	for i, fd := range stored {
		d[storedPrefix+strconv.Itoa(i)] = fd
	}
}

// takeStored returns the descriptors that passStored has added.
func (d descriptors) takeStored() (files []*os.File) {
	for i := 0; ; i++ {
		f, err := d.file(storedPrefix + strconv.Itoa(i))
		if err != nil {
			return files
		}
		files = append(files, f)
	}
}
