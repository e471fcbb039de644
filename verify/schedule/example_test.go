package schedule_test

import (
	"fmt"
	"time"

	"sallyport/verify/schedule"
)

// Both ends draw the ports of a minute from the port secret. The knock with
// sequence ID i goes to the port at index i.
func ExamplePorts() {
	minute := schedule.MinuteOf(time.Unix(25723440*60+30, 0))
	ports, err := schedule.Ports(schedule.Algorithm1, "portSecret", minute, 3)
	if err != nil {
		panic(err)
	}
	fmt.Println(minute, ports)
	// Output: 25723440 [34819 14313 19885]
}

// Around the turn of a minute, the ports of both minutes are open.
func ExampleLive() {
	now := time.Unix(25723440*60+57, 0)
	fmt.Println(schedule.Live(now, 5*time.Second))
	// Output: [25723440 25723441]
}
