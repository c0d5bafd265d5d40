// Made by `python -m benchmarks.page_assets`: laws with an animation in zoo/.
export const ZOO = ["boil", "choir", "embers", "flower", "frost", "hurricanes", "pinwheels", "sparks", "spirals", "tides", "turbulence"];
