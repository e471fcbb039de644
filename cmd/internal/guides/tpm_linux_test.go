package guides

import (
	"fmt"
	"os"
	"path/filepath"

	"sallyport/bench/netns"
)

// tpm starts an emulated one for the client, with its state in a directory.
func (w *world) tpm(dir string) {
	w.t.Helper()
	w.makeDir(dir)
	socket := filepath.Join(dir, "socket")
	command := fmt.Sprintf("swtpm socket --tpm2 --tpmstate dir='%s' --server type=unixio,path='%s' --ctrl type=unixio,path='%s.ctrl'"+
		" --flags not-need-init,startup-clear", dir, socket, socket)
	if err := w.client.runOn(command, func(string) bool { return exists(socket) }); err != nil {
		w.t.Fatalf("swtpm: %v", err)
	}
	netns.Until(w.t, "the TPM", func() bool { return exists(socket) })
	w.client.must("export TPM2TOOLS_TCTI='swtpm:path=" + socket + "'")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
