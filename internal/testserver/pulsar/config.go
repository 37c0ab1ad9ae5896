package pulsar

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// defaults are the settings of every broker: one node on loopback with little memory that syncs its journal before it
// acknowledges, and answers at once, as docs/operations recommends.
var defaults = map[string]string{
	"clusterName":                               "standalone",
	"metadataStoreUrl":                          "",
	"listeningInterface":                        "lo", // else the bookie listens everywhere
	"allowLoopback":                             "true",
	"managedLedgerDefaultEnsembleSize":          "1",
	"managedLedgerDefaultWriteQuorum":           "1",
	"managedLedgerDefaultAckQuorum":             "1",
	"managedLedgerCacheSizeMB":                  "64",
	"ledgerStorageClass":                        "org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage",
	"dbStorage_writeCacheMaxSizeMb":             "48",
	"dbStorage_readAheadCacheMaxSizeMb":         "16",
	"dbStorage_rocksDB_blockCacheSize":          "16777216",
	"nettyMaxFrameSizeBytes":                    "5253120",
	"diskUsageThreshold":                        "0.99",
	"diskUsageWarnThreshold":                    "0.99",
	"journalSyncData":                           "true",
	"journalMaxGroupWaitMSec":                   "0",
	"journalFlushWhenQueueEmpty":                "true",
	"journalMaxSizeMB":                          "256",
	"journalPreAllocSizeMB":                     "16",
	"managedLedgerNewEntriesCheckDelayInMillis": "0",
	"managedLedgerMinLedgerRolloverTimeMinutes": "0", // a test can have a ledger closed, and then forgotten
	"loadManagerClassName":                      "org.apache.pulsar.broker.loadbalance.NoopLoadManager",
	"loadBalancerEnabled":                       "false",
	"webSocketServiceEnabled":                   "false",
	"brokerDeleteInactiveTopicsEnabled":         "false",
	"allowAutoTopicCreation":                    "false",
	"forceDeleteNamespaceAllowed":               "true",
	"transactionCoordinatorEnabled":             "false",
	"numIOThreads":                              "4",
	"numHttpServerThreads":                      "8",
}

// config returns the broker's configuration file.
func (s *Server) config() (string, error) {
	settings := maps.Clone(defaults)
	settings["bindAddress"], settings["advertisedAddress"] = s.host(), s.host()
	maps.Copy(settings, s.options.Config)
	for setting, addr := range map[string]string{"brokerServicePort": s.Addr, "webServicePort": s.AdminAddr} {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return "", err
		}
		settings[setting] = port
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%s\n", name, settings[name])
	}
	return text.String(), nil
}

// host is where the server listens.
func (s *Server) host() string {
	host, _, _ := net.SplitHostPort(s.Addr) // config has refused what is no address
	return host
}

const logging = `<Configuration status="WARN"><Appenders><Console name="c"><PatternLayout pattern="%d{HH:mm:ss.SSS} [%t] %-5level %logger{1} - %msg%n%throwable{short}"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="c"/></Root></Loggers></Configuration>
`

// arguments of the virtual machine and the broker, without what is where.
func arguments(heapMB, directMB int) []string {
	args := []string{
		"-Xms64m", fmt.Sprintf("-Xmx%dm", heapMB), fmt.Sprintf("-XX:MaxDirectMemorySize=%dm", directMB), "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError",
		"-Dio.netty.tryReflectionSetAccessible=true", "-Djava.net.preferIPv4Stack=true", "-Djute.maxbuffer=10485760",
		"-Dbookkeeper.metadata.bookie.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataBookieDriver",
		"-Dbookkeeper.metadata.client.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataClientDriver",
		"-Dpulsar.allocator.exit_on_oom=true", "-Dlog4j2.is.webapp=false",
	}
	for _, opened := range []string{
		"java.base/java.io", "java.base/java.util.zip", "java.base/java.nio", "java.base/jdk.internal.misc", "java.base/sun.net",
		"java.management/sun.management", "jdk.management/com.sun.management.internal",
	} {
		args = append(args, "--add-opens", opened+"=ALL-UNNAMED")
	}
	return args
}
