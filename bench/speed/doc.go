// Command speed measures how fast Sluice is, and what it costs, beside other queues on Postgres.
//
//	go run ./speed -only drain -contender 'sluice|river' -test '^1 '
//	go run ./speed -help
package main
