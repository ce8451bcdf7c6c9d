package container

import (
	"math/rand/v2"
	"strings"
)

// randomName makes up a name for a container: a quality and a mountain.
func randomName() string {
	pick := func(words string) string {
		w := strings.Fields(words)
		return w[rand.IntN(len(w))]
	}
	return pick(qualities) + "_" + pick(mountains)
}

const (
	qualities = `able airy amber ample apt bold brave brief bright brisk calm candid clear clever cosy crisp
		curious deft eager early exact fair fast fine firm fleet fond frank free fresh gentle glad golden
		good grand green happy hardy honest humble jolly keen kind large light lively loyal lucid lucky
		mellow merry mild modest neat nimble noble open patient plain polite prompt proud quick quiet
		rapid rare ready sharp silent simple sleek smart smooth snug sober solid sound spry steady still
		stout sturdy subtle sunny swift tidy tough true vivid warm wise witty young zesty`
	mountains = `aconcagua ararat athos batur blanc brocken castor cook cotopaxi denali dom eiger elbrus elgon
		erebus etna everest fuji gannett gerlach hekla helvellyn hood ida ixtla jungfrau kailash katahdin
		kenya kinabalu lanin lhotse logan makalu manaslu marcy matterhorn meru mitchell monch moran nanga
		nebo nevis olympus orizaba ossa pelion pilatus pollux rainier rigi robson rysy scafell shasta sinai
		snowdon taranaki teide titlis toubkal triglav tryfan uluru vesuvius vinson weisshorn whitney zugspitze`
)
