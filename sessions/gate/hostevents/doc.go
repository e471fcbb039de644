// Package hostevents reports that the host's links or addresses may have changed, for
// those that keep something at each of them: a port that is held, the program at the
// network driver.
package hostevents
