package pg

import "time"

// What the tests reach for beside the package's own surface; they live outside it, because pgtest imports it.
var (
	MigrateFiles = migrate
	ListenTimed  = listen
	PoolConfig   = poolConfig
)

// Unfit is target.unfit.
func Unfit(schema string, versionNum int) error {
	return target{database: "app", schema: schema, searchPath: "tenant_a", version: "14.9", versionNum: versionNum}.unfit()
}

// QuickListenTimes find a half-open connection as soon as it has not answered for so long.
func QuickListenTimes(answer time.Duration) listenTimes {
	return listenTimes{quiet: 50 * time.Millisecond, answer: answer, minPause: time.Millisecond, maxPause: 10 * time.Millisecond}
}
