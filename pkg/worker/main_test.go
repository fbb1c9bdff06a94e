package worker_test

import (
	"testing"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
