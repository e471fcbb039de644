package race

import "os"

// Children makes the programs that this test starts end at once. Under the race detector,
// a process otherwise waits for a second at its end.
func Children() { os.Setenv("GORACE", "atexit_sleep_ms=0") }
