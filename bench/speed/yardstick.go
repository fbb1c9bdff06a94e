package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// yardstickSpec is what the process of the yardstick is told.
type yardstickSpec struct {
	URL      string
	Settings riverSettings
}

// yardstick is the process: the least that an application with River and Echo has to write to take jobs over HTTP. It
// checks nothing.
func yardstick(ctx context.Context, spec []byte, _ parent) error {
	var s yardstickSpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	pool, err := poolOf(ctx, s.URL, apiConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown: s.Settings.Cooldown, FetchPollInterval: s.Settings.Poll, Logger: quiet,
	})
	if err != nil {
		return err
	}
	e := echo.New()
	e.POST("/jobs", insertOne(client))
	e.POST("/jobs/batch", insertMany(client))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody is left who waits for an answer
	fmt.Fprintf(os.Stderr, "http://%s\n", listener.Addr())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// apiConns are the connections of bin/api, and the yardstick has as many.
const apiConns = 20

func insertOne(client *river.Client[pgx.Tx]) echo.HandlerFunc {
	return func(c echo.Context) error {
		body, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		made, err := client.Insert(c.Request().Context(), riverJob(body), nil)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusAccepted, map[string]int64{"id": made.Job.ID})
	}
}

func insertMany(client *river.Client[pgx.Tx]) echo.HandlerFunc {
	return func(c echo.Context) error {
		var jobs []json.RawMessage
		if err := json.NewDecoder(c.Request().Body).Decode(&jobs); err != nil {
			return err
		}
		params := make([]river.InsertManyParams, len(jobs))
		for i, job := range jobs {
			params[i].Args = riverJob(job)
		}
		n, err := client.InsertManyFast(c.Request().Context(), params)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusAccepted, map[string]int{"inserted": n})
	}
}

// bulkSpec is what a process is told that inserts without any HTTP.
type bulkSpec struct {
	URL            string
	Pace           pace
	Batch, Payload int
}

// riverBulk is the process.
func riverBulk(ctx context.Context, spec []byte, parent parent) error {
	var s bulkSpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	pool, err := poolOf(ctx, s.URL, apiConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := riverInserter(pool)
	if err != nil {
		return err
	}
	jobs := make([]river.InsertManyParams, s.Batch)
	for i := range jobs {
		jobs[i].Args = riverJob(payload(i, s.Payload))
	}
	all, err := s.Pace.drive(ctx, func() (caller, error) {
		return func(int) (string, error) {
			_, err := client.InsertManyFast(ctx, jobs)
			return "", err
		}, nil
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(parent.out).Encode(all)
}
